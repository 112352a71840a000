"""Calls the sink for whoever is next, and acts on what comes of it: report, retry, bury, put aside, halt."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from schemas.errors import Halt, Reject, RetryLater, Scope
from schemas.record import LogRecord
from sinks.arrival import Arrival
from sinks.brake import Brake
from sinks.feed import Feed
from sinks.lanes import Lane, Lanes
from sinks.letters import account_of
from sinks.limits import Limits
from sinks.open_letters import OpenLetters
from sinks.parking import Parking
from sinks.parking_store import Halts, ParkingStore, Place
from sinks.reports import Reports
from sinks.sink import Sink
from sinks.steps import At, pass_by

WORTH_PARKING = 3
"""Failures in a row; one or two are over sooner than a row in the table is written and read."""

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What a sink keeps in the SQL store."""

    parking: ParkingStore
    halts: Halts
    letters: OpenLetters


class Dispatch(Generic[Item, Out]):
    """Everything between a record that was read and its outcome.

    Args:
        sink: acts on arrivals.
        feed: says what a record is.
        reports: where outcomes are written down.
        stores: what outlives the process.
        limits: how far to go.
        finished: told of each record that a commit may pass.
        known_end: the end of a record's partition, as far as is known.
        tasks: owns the tasks, so that one that crashes takes the worker along.
        at: see `sinks.steps`.
    """

    def __init__(
        self,
        sink: Sink[Item, Out],
        feed: Feed[Item, Out],
        reports: Reports[Item, Out],
        stores: Stores,
        limits: Limits,
        *,
        finished: Callable[[LogRecord], None],
        known_end: Callable[[LogRecord], int],
        tasks: asyncio.TaskGroup,
        at: At = pass_by,
    ) -> None:
        self._sink = sink
        self._feed = feed
        self._reports = reports
        self._limits = limits
        self._finished = finished
        self._known_end = known_end
        self._tasks = tasks
        self._at = at
        self._wake = asyncio.Event()
        self.lanes: Lanes[Item] = Lanes(concurrency=limits.concurrency, account_concurrency=limits.account_concurrency)
        self.brake = Brake(sink.name, stores.halts, stores.letters, limits, changed=self._wake.set)
        self.parking = Parking(
            stores.parking,
            sink.name,
            pauses=limits.pauses,
            deliver=self._queue,
            read=lambda record: feed.read(record, sink.name),
            bury=self._bury_parked,
            finished=finished,
            may_return=self.brake.below_cap,
            at=at,
        )
        self._busy: set[asyncio.Task[None]] = set()
        self._burying = 0
        self._settling = False

    @property
    def unfinished(self) -> int:
        """Records in memory; those that come back from the table have a bound of their own."""
        return self.lanes.unfinished + self.parking.pending - self.parking.returning + self._burying

    def add(self, record: LogRecord) -> None:
        """Take a record that was read."""
        try:
            arrival = self._feed.read(record, self._sink.name)
        except ValueError as error:
            self._begin_burying(record, error, self._finished)
            return
        if arrival is None:
            self._finished(record)
            return
        if self.parking.place_of(arrival.key, arrival.account) is None:
            self._queue(arrival)
        else:
            self.parking.add(arrival)

    async def run(self) -> None:
        """Call the sink for whoever is next, until cancelled."""
        watching = self._tasks.create_task(self.brake.watch())
        parking = self._tasks.create_task(self.parking.run())
        try:
            while True:
                self._wake.clear()
                now = time.monotonic()
                while self._may_call() and (lane := self.lanes.turn(now)) is not None:
                    self._begin(self._call(lane), f"deliver {lane.key}")
                next_at = self.lanes.next_at() if self._may_call() else None
                try:
                    async with asyncio.timeout(None if next_at is None else max(0.0, next_at - time.monotonic())):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            watching.cancel()
            parking.cancel()

    async def settle(self, within_s: float) -> None:
        """Finish what the sink was called for, give up the rest, and forget everything; nothing is added meanwhile.

        Args:
            within_s: calls that take longer are cancelled.
        """
        self._settling = True
        try:
            # Not committed, so whoever owns the partitions then reads it again.
            self.lanes.withdraw(lambda _: True)
            if self._busy:
                _, late = await asyncio.wait(self._busy, timeout=within_s)
                for task in late:
                    task.cancel()
                if late:
                    await asyncio.wait(late)
            self.lanes.withdraw(lambda _: True)
            await self.parking.settle()
        finally:
            self._settling = False
            self._wake.set()

    def make_room(self) -> None:
        """Reading is held up: put aside what is in trouble now, so that it holds up nobody else."""
        # If all is in trouble, nobody would be served by it.
        for account in () if self.lanes.trouble.slowed else self.lanes.slowed(WORTH_PARKING):
            self._park(Place(account=account), "others wait behind it", None)
        for lane in self.lanes.failing(WORTH_PARKING):
            self._park(Place(account=lane.account, key=lane.key), "others wait behind it", None)

    def _may_call(self) -> bool:
        return self.brake.released and not self._settling

    # -- one call ----------------------------------------------------------------------------------------------------

    def _queue(self, arrival: Arrival[Item]) -> None:
        self.lanes.add(arrival)
        self._wake.set()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.create_task(work, name=name)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _call(self, lane: Lane[Item]) -> None:
        try:
            await self._deliver(lane)
        finally:
            self.lanes.release(lane, time.monotonic())
            self._wake.set()

    async def _deliver(self, lane: Lane[Item]) -> None:
        arrivals = lane.first()
        first = arrivals[0]
        for arrival in arrivals:
            arrival.end = self._known_end(arrival.record)
        self._at("given")
        try:
            outcomes = await self._sink.deliver(arrivals)
        except RetryLater as error:
            first.attempts += 1
            self._retry(lane, first, error)
            return
        except Halt as error:
            await self.brake.halt(str(error))
            return
        except Reject as error:
            first.attempts += 1
            known = await self.brake.count_letter(first.account, first.record)
            await self._reports.rejected(first, error, with_letter=not known)
            await self.brake.letter_written(first.record)
            self._done(lane, [first])
            if await self.brake.after_letter(first.account, can_be_parked=True):
                self._park(Place(account=first.account), "too many dead letters that nobody has dealt with", None)
                self._put_aside(self.lanes.give_up(lane))
            return
        if not 1 <= len(outcomes) <= len(arrivals):
            raise RuntimeError(f"sink {self._sink.name}: {len(outcomes)} outcomes for {len(arrivals)} arrivals")
        self._at("effect")
        done = arrivals[: len(outcomes)]
        for arrival in done:
            arrival.attempts += 1
        await self._reports.settled(done, outcomes)
        self._done(lane, done)

    def _done(self, lane: Lane[Item], done: list[Arrival[Item]]) -> None:
        self.lanes.settled(lane, len(done), time.monotonic())
        for arrival in done:
            if arrival.parked:
                self.parking.ended(arrival.record, settled=True)
            else:
                self._finished(arrival.record)
        # Its place may have been opened while the sink was busy with it.
        if not done[0].parked and self.parking.place_of(lane.key, lane.account) is not None:
            self._put_aside(self.lanes.give_up(lane))

    def _retry(self, lane: Lane[Item], first: Arrival[Item], error: RetryLater) -> None:
        now = time.monotonic()
        self.lanes.failed(lane, now)
        trouble = self.lanes.trouble_of(lane.account)
        scope = error.scope
        if scope == "entity" and (self.lanes.trouble if self._sink.fate == "sink" else trouble).common:
            scope = self._sink.fate
        if first.parked and scope != "sink":
            self._return_failed(lane, first, error, scope)
            return
        if not first.parked and self.parking.place_of(lane.key, lane.account) is not None:
            # It was opened while the sink was busy with this.
            self._reports.failed(first, error, pause_s=0.0)
            self._put_aside(self.lanes.give_up(lane))
            return
        self._wait(lane, first, error, scope, now)
        if self.parking.place_of(lane.key, lane.account) is not None and not first.parked:
            self._put_aside(self.lanes.give_up(lane))

    def _wait(self, lane: Lane[Item], first: Arrival[Item], error: RetryLater, scope: Scope, now: float) -> None:
        """Pause what is in trouble, or put it aside if it has been for long."""
        trouble = self.lanes.trouble_of(lane.account)
        failures = {"entity": lane.failures, "account": trouble.failures + 1, "sink": self.lanes.trouble.failures + 1}
        pause_s = self._limits.pauses.after(failures[scope], asked_s=error.after_s, jitter=random.random())  # noqa: S311
        self._reports.failed(first, error, pause_s=pause_s)
        # Whatever is to blame: if the others are well meanwhile, it is this one after all.
        lane.not_before = now + self._limits.pauses.after(lane.failures, asked_s=error.after_s, jitter=0.0)
        failing_s = now - (lane.failing_since or now)
        if scope == "sink":
            self.lanes.trouble.pause(now, pause_s, error.after_s)
        elif scope == "account":
            trouble.pause(now, pause_s, error.after_s)
            if error.lasting or trouble.lasted_s(now) >= self._limits.park_after_s:
                self._park(Place(account=lane.account), str(error), error.after_s)
                return
        if (scope == "entity" and error.lasting) or (
            failing_s >= self._limits.park_entity_after_s and (scope == "entity" or self.lanes.fails_alone(lane))
        ):
            self._park(Place(account=lane.account, key=lane.key), str(error), error.after_s)

    def _return_failed(self, lane: Lane[Item], first: Arrival[Item], error: RetryLater, scope: Scope) -> None:
        """What came back from the table goes back there, and is tried again after its place's pause."""
        pause_s = self.parking.failed(first, whole_account=scope == "account", asked_s=error.after_s)
        self._reports.failed(first, error, pause_s=pause_s)
        place = self.parking.place_of(lane.key, lane.account)
        if place is None:
            raise RuntimeError(f"{lane.key} came back from nowhere")
        self._put_aside(self.lanes.give_up(lane))
        if place.key is None:
            self.lanes.calm(lane.account, time.monotonic())
            self._put_aside(self.lanes.withdraw(lambda _: True, lane.account))

    # -- putting aside -----------------------------------------------------------------------------------------------

    def _park(self, place: Place, reason: str, asked_s: float | None) -> None:
        """Put aside what the sink is not busy with; the rest follows when the sink fails or is done."""
        self.parking.open(place, reason=reason, asked_s=asked_s)
        wanted = (lambda _: True) if place.key is None else (lambda lane: lane.key == place.key)
        self._put_aside(self.lanes.withdraw(wanted, place.account))
        if place.key is None:
            self.lanes.calm(place.account, time.monotonic())

    def _put_aside(self, arrivals: Iterable[Arrival[Item]]) -> None:
        for arrival in arrivals:
            if arrival.parked:
                self.parking.ended(arrival.record, settled=False)
            else:
                self.parking.add(arrival)

    def _bury_parked(self, record: LogRecord, error: ValueError) -> None:
        self._begin_burying(record, error, lambda buried: self.parking.ended(buried, settled=True))

    def _begin_burying(self, record: LogRecord, error: ValueError, done: Callable[[LogRecord], None]) -> None:
        self._burying += 1
        self._begin(self._bury(record, error, done), f"bury {record.partition} {record.offset}")

    async def _bury(self, record: LogRecord, error: ValueError, done: Callable[[LogRecord], None]) -> None:
        account = account_of(record)
        try:
            if not await self.brake.count_letter(account, record):
                await self._reports.unreadable(record, error)
                await self.brake.letter_written(record)
        finally:
            self._burying -= 1
        done(record)
        await self.brake.after_letter(account, can_be_parked=False)
