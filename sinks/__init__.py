"""Workers that act on changes: one loop, many sinks."""
