"""The processes of one machine, started from one configuration and kept running together."""
