"""Runs the core over a part of the raw log again: into the topic of changes or another one, or beside other rules."""
