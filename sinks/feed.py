"""Pure: what a worker has to know of the topics that it serves: how a record is read, and how an outcome is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from schemas.errors import Reject
from schemas.record import LogRecord
from schemas.topics import Topic
from sinks.arrival import Arrival

Item = TypeVar("Item")
Out_contra = TypeVar("Out_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One outcome, as it goes to Kafka and into the metrics."""

    value: bytes
    """The record for the feed's topic of outcomes; its key is that of the record that arrived."""
    outcome: str
    """Label of the metric."""
    latency_ms: int
    """From the record's timestamp to its outcome."""


class Feed(Protocol[Item, Out_contra]):
    """A topic, what its records are to sinks, and the topic that tells what became of them."""

    @property
    def topic(self) -> Topic:
        """What is read."""

    @property
    def outcomes(self) -> Topic:
        """Where the outcomes go."""

    def read(self, record: LogRecord, sink: str) -> Arrival[Item] | None:
        """What arrived; None: it is not meant for this sink, and nothing is reported.

        Raises:
            ValueError: it is nothing that a sink could work with; it goes to the dead letters.
        """

    def tell(self, arrival: Arrival[Item], outcome: Out_contra, *, sink: str, now_ms: int) -> Told:
        """The sink has this outcome."""

    def tell_rejected(self, arrival: Arrival[Item], error: Reject, *, sink: str, now_ms: int) -> Told:
        """It can never be delivered; the dead letter is written beside."""
        ...
