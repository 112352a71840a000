"""All that knows the ServiceTrade API: sessions, client, entity catalogue, and a simulator of it."""
