"""`make run`: the whole pipeline on an embedded Kafka against a simulated ServiceTrade, and an account of it all."""
