"""Pure: what the brokers tell of themselves and of a topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A node of the cluster."""

    id: int
    address: str
    """host:port, as it wants to be reached by clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the brokers tell of themselves."""

    brokers: Sequence[Broker]
    versions: Mapping[int, int]
    """The newest version of each API, by its key, that the broker which was asked speaks; empty: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSeen:
    """One partition as the brokers tell of it."""

    number: int
    leader: int
    """Broker; -1: none."""
    replicas: int
    in_sync: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSeen:
    """A topic that exists."""

    partitions: Sequence[PartitionSeen]
    config: Mapping[str, str]
    config_unread: str = ""
    """Why the settings could not be read; empty: they were."""
