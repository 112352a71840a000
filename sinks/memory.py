"""Remembers what a sink has acted on, for sinks whose effect and memory cannot be one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.change import EntityChange
from schemas.errors import RetryLater, SinkError, StoreError
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

AT_ONCE = 10
"""Effects in one call: outcomes are told together, and a busy entity must not hold its slot for long."""


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
        """See `sinks.sink.Sink`. Acts on a few, one after the other, and remembers each before the next.

        Raises:
            RetryLater: from the inner sink, for the first; or the store failed. If it failed after the effect, the next
                call with the same arrival only writes it down.
            Reject, Halt: from the inner sink, for the first.
        """
        last = await self._last_sequence(arrivals[0].item)
        outcomes: list[Outcome] = []
        for arrival in arrivals:
            if outcomes.count(Delivered()) == AT_ONCE:
                break
            try:
                outcomes.append(await self._settle(arrival, last))
            except SinkError:
                if not outcomes:
                    raise
                break  # it is given again, as the first
            last = max(last, arrival.item.sequence)
        return outcomes

    async def _settle(self, arrival: Arrival[EntityChange], last_sequence: str) -> Outcome:
        change, place = arrival.item, (arrival.record.partition, arrival.record.offset)
        if self._unwritten.get(change.key) != place:
            # One that a person has redriven has to have its effect again.
            if change.sequence <= last_sequence and not arrival.again:
                return ALREADY_DELIVERED
            self._at("acting")
            await self._inner.act(arrival)
            self._at("acted")
            self._unwritten[change.key] = place
        await self._remember(change)
        del self._unwritten[change.key]
        self._at("remembered")
        return Delivered()

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
