"""Remembers what a sink has acted on, for sinks whose effect and memory cannot be one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.change import EntityChange
from schemas.errors import RetryLater, StoreError
from sinks.arrival import Arrival
from sinks.memory_store import MemoryStore
from sinks.outcome import ALREADY_DELIVERED, Delivered, Outcome
from sinks.sink import Fate
from sinks.steps import At, pass_by

STEPS = (
    "acting",  # the change is not remembered, and the effect is about to be had
    "acted",  # it was had, and nobody knows yet: a crash here repeats it
    "remembered",  # the table `delivered` says so
)


class Acting(Protocol):
    """Acts on one change at a time, and need not know what it has done before."""

    @property
    def name(self) -> str:
        """See `sinks.sink.Sink`."""

    @property
    def fate(self) -> Fate:
        """See `sinks.sink.Sink`."""

    async def act(self, arrival: Arrival[EntityChange]) -> None:
        """Have the effect. May be called again for the same change: after a crash, or when partitions move.

        Raises: as `sinks.sink.Sink.deliver`.
        """


class Remembering:
    """A `sinks.sink.Sink` that acts on each change once, and after a crash between effect and memory twice.

    So the other side gets every change at least once, with the same id, and the changes of an entity in order if it
    looks at the first occurrence of each.

    Args:
        inner: has the effect.
        store: keeps the last sequence of every entity.
        at: see `sinks.steps`; STEPS.
    """

    def __init__(self, inner: Acting, store: MemoryStore, *, at: At = pass_by) -> None:
        self._inner = inner
        self._store = store
        self._at = at
        self._unwritten: dict[str, tuple[int, int]] = {}
        """Partition and offset of what has had its effect but could not be written down, by key."""

    @property
    def name(self) -> str:
        """See `sinks.sink.Sink`."""
        return self._inner.name

    @property
    def fate(self) -> Fate:
        """See `sinks.sink.Sink`."""
        return self._inner.fate

    async def deliver(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome]:
        """See `sinks.sink.Sink`. Settles all that lead and are remembered, else acts on the first.

        Raises:
            RetryLater: from the inner sink; or the store failed. If it failed after the effect, the next call with the
                same arrival only writes it down.
            Reject, Halt: from the inner sink.
        """
        first = arrivals[0]
        place = (first.record.partition, first.record.offset)
        if self._unwritten.get(first.key) != place:
            last = await self._last_sequence(first.item)
            if seen := _leading_seen(arrivals, last):
                # Settled now, so that a failure of the next one cannot be put down to them.
                return [ALREADY_DELIVERED] * seen
            self._at("acting")
            await self._inner.act(first)
            self._at("acted")
            self._unwritten[first.key] = place
        await self._remember(first.item)
        del self._unwritten[first.key]
        self._at("remembered")
        return [Delivered()]

    async def _last_sequence(self, change: EntityChange) -> str:
        try:
            return await self._store.last_sequence(self.name, change)
        except StoreError as error:
            raise RetryLater(str(error), scope="sink") from error

    async def _remember(self, change: EntityChange) -> None:
        try:
            await self._store.remember(self.name, change)
        except StoreError as error:
            raise RetryLater(str(error), scope="sink") from error


def _leading_seen(arrivals: Sequence[Arrival[EntityChange]], last_sequence: str) -> int:
    """How many of the first ones have had their effect; one that a person has redriven has to have it again."""
    return next((n for n, one in enumerate(arrivals) if one.again or one.item.sequence > last_sequence), len(arrivals))
