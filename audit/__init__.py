"""Holds what the processors wrote against the raw log: the same core, run again, has to give the same bytes."""
