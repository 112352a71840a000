"""A ServiceTrade of one's own: a real HTTP server that behaves like the API and its webhook sender."""
