"""Puts aside what cannot be delivered for now, so that the log goes on without it, and brings it back in order."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime import metrics
from runtime.logs import log_event
from schemas.errors import StoreError
from schemas.record import LogRecord
from sinks.arrival import Arrival
from sinks.parking_store import ParkingStore, Place
from sinks.pauses import Pauses
from sinks.reports import store_failed
from sinks.steps import At, pass_by

_log = logging.getLogger(__name__)

BATCH = 200
"""Records of a place that are brought back at a time, once a single one got through."""
MOST_RETURNING = 600
"""The same of all places together, but at least one of each: reading goes on beside them."""
COUNT_EVERY_S = 5.0
STORE_PAUSE_S = 1.0

Where = tuple[int, int]
"""Partition and offset."""


@dataclass(slots=True, eq=False)
class _Drain:
    """Some of a place's records, on their way to the sink."""

    waiting: dict[Where, LogRecord]
    settled: list[LogRecord] = field(default_factory=list)
    dropped: bool = False
    """Some came back without an outcome; they are still in the table."""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, where: Where, *, settled: bool) -> None:
        record = self.waiting.pop(where)
        if settled:
            self.settled.append(record)
        else:
            self.dropped = True
        if not self.waiting:
            self.done.set()


@dataclass(slots=True, eq=False)
class _Waiting:
    """A place that has records in the table, or is about to."""

    place: Place
    pauses: Pauses
    failures: int = 0
    not_before: float = 0.0
    task: asyncio.Task[None] | None = None

    def pause(self, asked_s: float | None) -> float:
        now = time.monotonic()
        # Several that fail together are one round.
        if now >= self.not_before:
            self.failures += 1
        pause_s = self.pauses.after(self.failures, asked_s=asked_s, jitter=random.random())  # noqa: S311
        self.not_before = max(self.not_before, now + pause_s)
        return pause_s


class Parking:
    """One worker's share of what its sink has put aside: that of the partitions it owns.

    Args:
        store: where it is.
        sink: the sink's name.
        pauses: between attempts to bring something back.
        deliver: takes an arrival that comes back; tells `ended` what became of it.
        read: makes an arrival of a record that comes back; None: it is not for this sink any more; ValueError: it
            cannot be read any more.
        bury: makes a dead letter of such a one; tells `ended` when it is written.
        finished: told of each record that is in the table, so that its offset may be committed.
        may_return: asked before an account's records are brought back.
        at: see `sinks.steps`.
    """

    def __init__(
        self,
        store: ParkingStore,
        sink: str,
        *,
        pauses: Pauses,
        deliver: Callable[[Arrival[Any]], None],
        read: Callable[[LogRecord], Arrival[Any] | None],
        bury: Callable[[LogRecord, ValueError], None],
        finished: Callable[[LogRecord], None],
        may_return: Callable[[str], Awaitable[bool]],
        at: At = pass_by,
    ) -> None:
        self._store = store
        self._sink = sink
        self._pauses = pauses
        self._deliver = deliver
        self._read = read
        self._bury = bury
        self._finished = finished
        self._may_return = may_return
        self._at = at
        self.loaded: frozenset[int] = frozenset()
        """The partitions whose share is known; no record of another one may be taken."""
        self._places: dict[str, _Waiting] = {}
        self._pending: list[Arrival[Any]] = []
        """About to be written to the table."""
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._drains: dict[Where, _Drain] = {}
        self._to_narrow: list[Place] = []
        """Keys that get a place of their own, of which the table does not know yet."""
        self._term = 0
        """Counts how often everything was forgotten."""
        self._parked = metrics.ByAccount(metrics.PARKED, sink)
        self._parked_accounts = metrics.ByAccount(metrics.PARKED_ACCOUNT, sink)

    @property
    def pending(self) -> int:
        """Arrivals in memory that are about to be written to the table."""
        return len(self._pending)

    @property
    def returning(self) -> int:
        """Records from the table that are on their way to the sink."""
        return len(self._drains)

    async def load(self, partitions: Iterable[int]) -> None:
        """Get to know what these partitions have in the table."""
        partitions, term = frozenset(partitions), self._term
        places = await self._store.places(partitions)
        if term != self._term:
            return
        for place in places:
            self._places.setdefault(place.name, _Waiting(place, self._pauses))
        self.loaded |= partitions
        self._show_accounts()
        self._wake.set()

    def forget(self) -> None:
        """The partitions may belong to others from now on; what is pending was not committed and is read again."""
        for waiting in self._places.values():
            if waiting.task is not None:
                waiting.task.cancel()
        self.loaded = frozenset()
        self._term += 1
        self._places.clear()
        self._pending.clear()
        self._to_narrow.clear()
        self._drains.clear()
        self._show_accounts()

    async def settle(self) -> None:
        """Forget, once nothing is being written any more: a row that nobody knows of would be delivered too late."""
        self.forget()
        async with self._writing:
            pass

    # -- putting aside -----------------------------------------------------------------------------------------------

    def place_of(self, key: str, account: str) -> Place | None:
        """Where arrivals of this key have to go; None: they may be delivered."""
        waiting = self._places.get(key) or self._places.get(account)
        return None if waiting is None else waiting.place

    def open(self, place: Place, *, reason: str, asked_s: float | None) -> None:
        """From now on what belongs there is put aside."""
        if place.name in self._places:
            return
        waiting = self._places[place.name] = _Waiting(place, self._pauses)
        self._show_accounts()
        pause_s = waiting.pause(asked_s)
        log_event(
            _log,
            "sink.parked",
            level=logging.WARNING,
            sink=self._sink,
            account=place.account,
            entity=place.key,
            pause_s=round(pause_s, 3),
            reason=reason,
        )

    def add(self, arrival: Arrival[Any]) -> None:
        """Put an arrival, of which there is a place, aside; its offset is finished when it is in the table."""
        self._pending.append(arrival)
        self._wake.set()

    async def run(self) -> None:
        """Write what is put aside, and bring back what may be, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._count())
                while True:
                    self._wake.clear()
                    try:
                        await self._write()
                        wait_s = self._begin_drains(tasks)
                    except StoreError as error:
                        store_failed(self._sink, error)
                        wait_s = STORE_PAUSE_S
                    try:
                        async with asyncio.timeout(wait_s):
                            await self._wake.wait()
                    except TimeoutError:
                        continue
        finally:
            self.forget()

    async def _write(self) -> None:
        async with self._writing:
            await self._write_pending()

    async def _write_pending(self) -> None:
        """With the right to write."""
        await self._narrow()
        term, pending, self._pending = self._term, self._pending, []
        if not pending:
            return
        # Its place of now: it may have got one of its own since it was put aside.
        placed = [(self.place_of(arrival.key, arrival.account), arrival) for arrival in pending]
        rows = [(place, arrival.key, arrival.record) for place, arrival in placed if place is not None]
        try:
            await self._store.put(rows)
        except StoreError:
            if term == self._term:
                self._pending[:0] = pending
            raise
        self._at("parked")
        # Otherwise the partitions were handed over meanwhile, and their progress is forgotten.
        if term == self._term:
            for _, arrival in placed:
                self._finished(arrival.record)

    async def _narrow(self) -> None:
        while self._to_narrow:
            await self._store.narrow(self._to_narrow[0], self.loaded)
            if self._to_narrow:
                self._to_narrow.pop(0)

    # -- bringing back -----------------------------------------------------------------------------------------------

    def ended(self, record: LogRecord, *, settled: bool) -> None:
        """A record that came back has its outcome, or (not settled) is to stay where it is."""
        where = record.partition, record.offset
        drain = self._drains.pop(where, None)
        if drain is not None:
            drain.end(where, settled=settled)

    def failed(self, arrival: Arrival[Any], *, whole_account: bool, asked_s: float | None) -> float:
        """One that came back failed; its place waits, or, if it is alone in trouble, it gets one of its own.

        Returns:
            Seconds until the next attempt.
        """
        own = Place(account=arrival.account, key=arrival.key)
        if whole_account or own.name in self._places:
            waiting = self._places.get(own.name) or self._places.get(arrival.account)
            return 0.0 if waiting is None else waiting.pause(asked_s)
        waiting = self._places[own.name] = _Waiting(own, self._pauses)
        self._to_narrow.append(own)
        self._wake.set()
        return waiting.pause(asked_s)

    def _begin_drains(self, tasks: asyncio.TaskGroup) -> float | None:
        """Begin what is due; returns the seconds until the next is."""
        now, waits = time.monotonic(), []
        for waiting in list(self._places.values()):
            if waiting.task is not None:
                continue
            if waiting.not_before > now:
                waits.append(waiting.not_before - now)
            else:
                waiting.task = tasks.create_task(self._drain(waiting), name=f"drain {waiting.place.name}")
        return min(waits) if waits else None

    async def _drain(self, waiting: _Waiting) -> None:
        try:
            await self._bring_back(waiting)
        except StoreError as error:
            store_failed(self._sink, error)
            waiting.pause(None)
        finally:
            waiting.task = None
            self._wake.set()

    async def _bring_back(self, waiting: _Waiting) -> None:
        at_most = 1  # whether it is well again, one shows as well as many
        while True:
            if not await self._may_return(waiting.place.account):
                waiting.pause(None)
                return
            records = await self._next(waiting, at_most)
            if not records:
                return
            drain = self._hand_over(records)
            await drain.done.wait()
            if drain.settled:
                self._at("unparked")
                await self._store.remove(drain.settled)
                at_most, waiting.failures = max(1, min(BATCH, MOST_RETURNING - self.returning)), 0
            gone = self._places.get(waiting.place.name) is not waiting
            if drain.dropped and (gone or waiting.not_before > time.monotonic()):
                return

    async def _next(self, waiting: _Waiting, at_most: int) -> list[LogRecord]:
        """The place's oldest records; none: there are no more, and what arrives from now on is delivered directly."""
        async with self._writing:
            while True:
                await self._write_pending()
                records = await self._store.first(waiting.place, self.loaded, at_most)
                # What was put aside meanwhile may be older than what was found.
                pending = {arrival.record.key for arrival in self._pending}
                if pending & {record.key for record in records}:
                    continue
                if records:
                    return records
                if not any(self.place_of(one.key, one.account) == waiting.place for one in self._pending):
                    if self._places.get(waiting.place.name) is waiting:
                        self._close(waiting.place)
                    return []

    def _close(self, place: Place) -> None:
        del self._places[place.name]
        self._show_accounts()
        log_event(_log, "sink.unparked", sink=self._sink, account=place.account, entity=place.key)

    def _hand_over(self, records: list[LogRecord]) -> _Drain:
        drain = _Drain(waiting={(record.partition, record.offset): record for record in records})
        self._drains.update(dict.fromkeys(drain.waiting, drain))
        for record in records:
            try:
                arrival = self._read(record)
            except ValueError as error:
                self._bury(record, error)
                continue
            if arrival is None:  # filters have changed: it is not wanted any more
                self._drains.pop((record.partition, record.offset))
                drain.end((record.partition, record.offset), settled=True)
                continue
            arrival.parked = True
            self._deliver(arrival)
        return drain

    def _show_accounts(self) -> None:
        whole = (one.place.account for one in self._places.values() if one.place.key is None)
        self._parked_accounts.show(dict.fromkeys(whole, 1))

    async def _count(self) -> None:
        """Keep the metric of records true."""
        while True:
            counts: Mapping[str, int] = {}
            try:
                counts = await self._store.counts(self.loaded) if self.loaded else {}
            except StoreError as error:
                store_failed(self._sink, error)
            self._parked.show(counts)
            await asyncio.sleep(COUNT_EVERY_S)
