"""Sinks of one's own, to begin with."""
