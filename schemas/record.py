"""Record: one record of a Kafka log, as the pure core sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """What the core reads of a record; aiokafka's ConsumerRecord has these attributes, so nothing is copied."""

    @property
    def offset(self) -> int:
        """Position in the partition."""

    @property
    def timestamp(self) -> int:
        """Append time, Unix milliseconds, set by the broker."""

    @property
    def key(self) -> bytes | None:
        """The record's key."""

    @property
    def value(self) -> bytes | None:
        """The record's value."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Names and values, in order."""


@dataclass(slots=True, kw_only=True)
class LogRecord:
    """A Record made by hand, and one read through the Kafka adapter."""

    topic: str = ""
    partition: int = 0
    offset: int
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def header(record: Record, name: str) -> bytes | None:
    """The first header of that name, or None."""
    for key, value in record.headers:
        if key == name:
            return value
    return None
