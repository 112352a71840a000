"""What of a range was not read because the live run has not come to it, as a figure and as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replay.ranges import PartitionRange
from schemas.moments import shown_moment

SHOWN = 5
"""Partitions with a sentence of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What was not read of a partition."""

    topic: str
    partition: int
    records: int
    """Of the range, of all accounts."""
    reached: int
    """Offset of the next record for the live run."""
    reached_ms: int | None
    """Its append time (Unix milliseconds)."""


def unread_of(one: PartitionRange, position: int = 0) -> list[Unread]:
    """What was not read of a partition: one at most.

    Args:
        one: the partition.
        position: where reading ended, if that was further than where the live run has come to.
    """
    records = one.bounds.second - max(one.stop, position)
    if records <= 0:
        return []
    topic, number = one.partition.topic, one.partition.number
    return [Unread(topic=topic, partition=number, records=records, reached=one.limit, reached_ms=one.reached_ms)]


def unread_lines(unread: Sequence[Unread], to_ms: int, verb: str) -> list[str]:
    """For people.

    Args:
        unread: by partition.
        to_ms: end of the range.
        verb: what was not done: replayed, compared.
    """
    lines = []
    for one in unread[:SHOWN]:
        when = "" if one.reached_ms is None else f", {shown_moment(one.reached_ms)} UTC"
        lines.append(
            f"{_records(one.records)} of {one.topic}[{one.partition}] up to {shown_moment(to_ms)} UTC "
            f"{_was(one.records)} not {verb}: the live run has come to offset {one.reached:,}{when}"
        )
    if rest := unread[SHOWN:]:
        records = sum(one.records for one in rest)
        lines.append(f"nor {_was(records)} {_records(records)} of {len(rest):,} more partitions")
    return lines


def _records(records: int) -> str:
    return f"{records:,} record" + ("" if records == 1 else "s")


def _was(records: int) -> str:
    return "was" if records == 1 else "were"
