"""Calls the sink for whoever is next, and acts on what comes of it: report, retry, bury, put aside, halt."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from runtime import metrics
from runtime.logs import log_event
from schemas.errors import Halt, Reject, RetryLater, Scope
from schemas.record import LogRecord
from schemas.topics import ACCOUNT_NAME
from sinks.arrival import Arrival
from sinks.feed import Feed
from sinks.lanes import Lane, Lanes
from sinks.open_letters import OpenLetters
from sinks.parking import Parking
from sinks.parking_store import Halts, ParkingStore, Place
from sinks.pauses import Pauses
from sinks.reports import Reports
from sinks.sink import Sink
from sinks.steps import At, pass_by

_log = logging.getLogger(__name__)

HALT_POLL_S = 2.0

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far a sink goes.

    Args:
        concurrency: entities that the sink is called for at a time.
        account_concurrency: the same of one account.
        pauses: after failures.
        park_after_s: an account that has failed for so long is put aside.
        park_entity_after_s: the same for one entity.
        dead_letter_cap: dead letters of one account that nobody has dealt with, from which on it is put aside.
        letters_kept_s: dead letters older than this do not count: retention has removed them.
        accounts: all that there are; if most of them are at the cap, the sink halts.
    """

    concurrency: int = 64
    account_concurrency: int = 8
    pauses: Pauses = field(default_factory=Pauses)
    park_after_s: float = 10.0
    park_entity_after_s: float = 60.0
    dead_letter_cap: int = 100
    letters_kept_s: float = 90 * 86_400.0
    accounts: Collection[str] = ()


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
        self._stores = stores
        self._limits = limits
        self._finished = finished
        self._known_end = known_end
        self._tasks = tasks
        self._at = at
        self.lanes: Lanes[Item] = Lanes(concurrency=limits.concurrency, account_concurrency=limits.account_concurrency)
        self.parking = Parking(
            stores.parking,
            sink.name,
            pauses=limits.pauses,
            deliver=self._queue,
            read=lambda record: feed.read(record, sink.name),
            finished=finished,
            may_return=self._below_cap,
            at=at,
        )
        self.halted: str | None = None
        """Why nothing is delivered until a person has looked at it."""
        self._busy: set[asyncio.Task[None]] = set()
        self._burying = 0
        self._settling = False
        self._wake = asyncio.Event()

    @property
    def unfinished(self) -> int:
        """Records in memory."""
        return self.lanes.unfinished + self._burying

    def add(self, record: LogRecord) -> None:
        """Take a record that was read."""
        try:
            arrival = self._feed.read(record, self._sink.name)
        except ValueError as error:
            self._burying += 1
            self._begin(self._bury(record, error), f"bury {record.partition} {record.offset}")
            return
        if arrival is None:
            self._finished(record)
            return
        place = self.parking.place_of(arrival.key, arrival.account)
        if place is None:
            self._queue(arrival)
        else:
            self.parking.add(arrival, place)

    async def run(self) -> None:
        """Call the sink for whoever is next, until cancelled."""
        watching = self._tasks.create_task(self._watch_halt())
        parking = self._tasks.create_task(self.parking.run())
        try:
            while True:
                self._wake.clear()
                now = time.monotonic()
                while not self.halted and not self._settling and (lane := self.lanes.turn(now)) is not None:
                    self._begin(self._call(lane), f"deliver {lane.key}")
                next_at = None if self.halted or self._settling else self.lanes.next_at()
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
        for lane in self.lanes.failing():
            if not self.lanes.trouble.slowed:
                self._park(Place(account=lane.account, key=lane.key), "others wait behind it", None)
        for account in self.lanes.slowed():
            self._park(Place(account=account), "others wait behind it", None)

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
            await self._halt(str(error))
            return
        except Reject as error:
            first.attempts += 1
            await self._stores.letters.add(self._sink.name, first.account, first.record)
            await self._reports.rejected(first, error)
            self._done(lane, [first])
            await self._mind_the_cap(first.account)
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
        self.lanes.settled(lane, len(done))
        for arrival in done:
            if arrival.parked:
                self.parking.ended(arrival, settled=True)
            else:
                self._finished(arrival.record)
        # Its place may have been opened while the sink was busy with it.
        if not done[0].parked and (place := self.parking.place_of(lane.key, lane.account)) is not None:
            self._put_aside(self.lanes.give_up(lane), place)

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
        failures = {"entity": lane.failures, "account": trouble.failures + 1, "sink": self.lanes.trouble.failures + 1}
        pause_s = self._limits.pauses.after(failures[scope], asked_s=error.after_s, jitter=random.random())  # noqa: S311
        self._reports.failed(first, error, pause_s=pause_s)
        if scope == "sink":
            self.lanes.trouble.pause(now, pause_s)
        elif scope == "account":
            trouble.pause(now, pause_s)
            if error.lasting or trouble.lasted_s(now) >= self._limits.park_after_s:
                self._park(Place(account=lane.account), str(error), error.after_s)
        else:
            lane.not_before = now + pause_s
            if error.lasting or now - (lane.failing_since or now) >= self._limits.park_entity_after_s:
                self._park(Place(account=lane.account, key=lane.key), str(error), error.after_s)
        if (place := self.parking.place_of(lane.key, lane.account)) is not None:
            self._put_aside(self.lanes.give_up(lane), place)

    def _return_failed(self, lane: Lane[Item], first: Arrival[Item], error: RetryLater, scope: Scope) -> None:
        """What came back from the table goes back there, and is tried again after its place's pause."""
        pause_s = self.parking.failed(first, whole_account=scope == "account", asked_s=error.after_s)
        self._reports.failed(first, error, pause_s=pause_s)
        self.lanes.calm(lane.account)
        place = self.parking.place_of(lane.key, lane.account)
        if place is None:
            raise RuntimeError(f"{lane.key} came back from nowhere")
        self._put_aside(self.lanes.give_up(lane), place)
        if place.key is None:
            self._put_aside(self.lanes.withdraw(lambda _: True, lane.account), place)

    # -- putting aside -----------------------------------------------------------------------------------------------

    def _park(self, place: Place, reason: str, asked_s: float | None) -> None:
        self.parking.open(place, reason=reason, asked_s=asked_s)
        wanted = (lambda _: True) if place.key is None else (lambda lane: lane.key == place.key)
        self._put_aside(self.lanes.withdraw(wanted, place.account), place)
        self.lanes.calm(place.account)

    def _put_aside(self, arrivals: Iterable[Arrival[Item]], place: Place) -> None:
        for arrival in arrivals:
            if arrival.parked:
                self.parking.ended(arrival, settled=False)
            else:
                self.parking.add(arrival, place)

    # -- dead letters and halts --------------------------------------------------------------------------------------

    async def _bury(self, record: LogRecord, error: ValueError) -> None:
        name = (record.key or b"").decode(errors="replace").partition("/")[0]
        account = name if ACCOUNT_NAME.fullmatch(name) else ""
        try:
            await self._stores.letters.add(self._sink.name, account, record)
            await self._reports.unreadable(record, error)
        finally:
            self._burying -= 1
        self._finished(record)
        # To put the account aside would help nothing: what cannot be read has no place in a lane.
        if (await self._letters()).get(account, 0) >= self._limits.dead_letter_cap:
            await self._halt(f"{self._limits.dead_letter_cap} dead letters of account {account!r}, some unreadable")

    async def _letters(self) -> Mapping[str, int]:
        newer_than_ms = round((time.time() - self._limits.letters_kept_s) * 1000)
        return await self._stores.letters.counts(self._sink.name, newer_than_ms=newer_than_ms)

    async def _below_cap(self, account: str) -> bool:
        return (await self._letters()).get(account, 0) < self._limits.dead_letter_cap

    async def _mind_the_cap(self, account: str) -> None:
        full = {name for name, count in (await self._letters()).items() if count >= self._limits.dead_letter_cap}
        if account not in full:
            return
        reason = f"{self._limits.dead_letter_cap} dead letters that nobody has dealt with"
        self._park(Place(account=account), reason, None)
        if 2 * len(full & set(self._limits.accounts)) > len(self._limits.accounts):
            await self._halt(f"{reason}, in most accounts: `tradewind deadletters list --sink {self._sink.name}`")

    async def _halt(self, reason: str) -> None:
        await self._stores.halts.halt(self._sink.name, reason)
        self._note_halt(reason)

    async def _watch_halt(self) -> None:
        """A person, or another process of this sink, halts and resumes it in the store."""
        while True:
            self._note_halt(await self._stores.halts.of(self._sink.name))
            await asyncio.sleep(HALT_POLL_S)

    def _note_halt(self, reason: str | None) -> None:
        metrics.HALTED.labels(self._sink.name).set(reason is not None)
        if (reason is None) == (self.halted is None):
            return
        self.halted = reason
        if reason is None:
            log_event(_log, "sink.resumed", sink=self._sink.name)
        else:
            log_event(_log, "sink.halted", level=logging.ERROR, sink=self._sink.name, reason=reason)
        self._wake.set()
