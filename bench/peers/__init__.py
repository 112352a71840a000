"""The peers: each a program of its own, run in an environment of its own, that reads the same raw topic."""
