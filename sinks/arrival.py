"""Pure: something that arrived at a sink, with the record that carried it and how its delivery is going."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.record import LogRecord, header
from schemas.topics import REDRIVE_TO_ALL, REDRIVE_TO_HEADER

Item = TypeVar("Item")


@dataclass(slots=True, kw_only=True, eq=False)
class Arrival(Generic[Item]):
    """One record of the topic that a sink reads, and what it says."""

    record: LogRecord
    item: Item
    account: str
    key: str
    """What is delivered in order: of a change its entity, `account/type/id`."""
    end: int = 0
    """When the sink is called, every record of the partition below this offset had been appended."""
    again: bool = False
    """A person has redriven it to this sink: it is delivered even if it was before."""
    parked: bool = False
    """It comes from the table `parked`, not from the topic."""
    attempts: int = 0
    """Calls of the sink that failed on it or settled it."""
    first_failure_ms: int | None = None


def is_redriven(record: LogRecord) -> bool:
    """Whether a person has sent it here again."""
    return bool(record.headers) and header(record, REDRIVE_TO_HEADER) is not None


def meant_for(record: LogRecord, sink: str) -> bool:
    """Whether the record is for this sink: all are but those that were redriven to another one alone."""
    to = header(record, REDRIVE_TO_HEADER) if record.headers else None
    return to is None or to in (sink.encode(), REDRIVE_TO_ALL)
