"""Examines a configuration and all that it names, and says what to do about what is wrong."""
