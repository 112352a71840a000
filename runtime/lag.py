"""Pure: how far behind a reader of a topic is, in records and in time, by what is seen of it look by look."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the reader is in a partition."""

    position: int
    """Offset of the first record that is not done."""
    not_before_ms: int | None = None
    """Append time, Unix milliseconds, of that record, or of one before it; None: not known."""


@dataclass(frozen=True, slots=True)
class Behind:
    """How far."""

    records: int
    seconds: float
    """Age of the oldest record that is not done, 0 if there is none; too long by the time between two looks at most."""


class Lag(Generic[P]):
    """Remembers of each partition until when its first undone record was not there yet.

    So the age of a record is known, within a look, that nobody has read; and one that comes after a night of silence is
    not taken to be as old as the night is long.
    """

    def __init__(self) -> None:
        self._ends: dict[P, tuple[int, float]] = {}
        """By the last look: the end, and when that was."""
        self._absent_until: dict[P, float] = {}

    def look(self, now_ms: float, ends: Mapping[P, int], places: Mapping[P, Place]) -> Behind:
        """What is behind now.

        Args:
            now_ms: by the clock of this machine, Unix milliseconds; append times are by the broker's.
            ends: where the partitions end, all of those in `places`.
            places: the partitions that are the reader's; of others nothing is remembered.
        """
        records, oldest_ms = 0, now_ms
        absent, self._absent_until = self._absent_until, {}
        for one, place in places.items():
            end, seen_ms = self._ends.get(one, (None, now_ms))
            if end is not None and end <= place.position:
                absent[one] = seen_ms
            if place.position < ends[one]:
                records += ends[one] - place.position
                if place.not_before_ms is None and one not in absent:
                    absent[one] = now_ms  # behind from the first look on, nobody knows for how long: it counts from now
                known = (place.not_before_ms, absent.get(one))
                # Remembered, for a rebalance makes the reader forget what it has read.
                absent[one] = max(at for at in known if at is not None)
                oldest_ms = min(oldest_ms, absent[one])
            if one in absent:
                self._absent_until[one] = absent[one]
        self._ends = {one: (ends[one], now_ms) for one in places}
        return Behind(records, max(0.0, (now_ms - oldest_ms) / 1000))
