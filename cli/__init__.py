"""The `tradewind` command: one file for each group of commands, and what they print with."""
