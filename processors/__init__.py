"""From the raw webhook log to one change per entity: a pure core, and the Faust worker around it."""
