"""One partition of what a story is read from: where reading is, and who makes events of its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.kafka import Partition
from schemas.record import LogRecord
from views.story_event import Event
from views.story_judged import NOTHING_LEFT_MS, Coverage

Feed = Callable[[Sequence[LogRecord]], list[Event]]
"""Takes the next records of a partition, and says what they tell of the entity."""


@dataclass(slots=True)
class Stream:
    """One partition of one topic."""

    partition: Partition
    position: int
    stop: int | None
    """None: its end, whatever that is when it is asked for."""
    feed: Feed
    is_cut: bool = False
    """It begins where retention has left the first record, though it would begin before."""
    first_ms: int | None = None
    """Timestamp of the first record that was read."""
    end: int = 0

    def take(self, batch: Sequence[LogRecord]) -> list[Event]:
        """What the next records tell."""
        if self.first_ms is None:
            self.first_ms = batch[0].timestamp
        return self.feed(batch)

    def coverage(self, stop_ms: int | None) -> Coverage:
        """What was read of it, up to `stop_ms` (None: its end)."""
        first_ms = NOTHING_LEFT_MS if self.first_ms is None else self.first_ms
        is_whole = self.stop is None or self.stop >= self.end
        return Coverage(from_ms=first_ms if self.is_cut else None, to_ms=None if is_whole else stop_ms)
