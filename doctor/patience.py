"""Pure: how long each part of the examination may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds. Kafka and the store are asked at the same time, and ServiceTrade after the store.

    What is away is mostly found to be so at once. The worst case, half a minute: Kafka takes a connection and says
    nothing (reach_s); or the store is slow, and then ServiceTrade takes connections and says nothing. Not bounded
    here is a PostgreSQL that falls silent in the middle: a transaction that was begun is waited for (runtime.database).
    """

    reach_s: float = 10.0
    """Until the brokers have told of themselves and of all topics."""
    groups_s: float = 12.0
    """Until they have told how far all stages are; one that was just started knows that after some seconds."""
    store_s: float = 12.0
    """Until the store is open. A little more than the drivers' own patience, which ends in a better sentence."""
    session_s: float = 12.0
    """Until the account has a session. A login that is under way then is not cut off, but waited for."""
    hooks_s: float = 8.0
    """Until ServiceTrade has shown an account's webhooks."""
