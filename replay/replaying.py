"""Replays a range of the raw log into a topic; it can be ended at any time, and gone on with from any machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from processors.restore import read_rules_history
from replay.core import core_at
from replay.given_rules import GivenRules
from replay.plan import Note, Plan, write_note
from replay.ranges import PartitionRange
from replay.selection import Selection
from replay.walk import RangeWalk
from runtime.kafka import Headers, KafkaError, LogReader, Partition, Producer
from runtime.kafka.bookmarks import Bookmark, Bookmarks, delete_group
from runtime.settings import Settings
from schemas.change import EntityChange, change_record
from schemas.rules import RulesInForce
from schemas.topics import RULES

SAVE_EVERY_S = 0.5
"""At most so often positions are saved: what is sent between two times stands in the topic twice after a kill -9."""
LEAVE_S = 5.0
TURN = 1_000
"""Records, after which what is fetched and what is sent meanwhile has its turn."""

Watch = Callable[[int, int, int], None]
"""Told how many records were read, how many there are in all, and how many changes came of them."""
Outgoing = tuple[str, bytes | None, bytes, Headers]


@dataclass(slots=True)
class Replayed:
    """What a replay did, since it began or was gone on with."""

    records: int = 0
    """Of the raw log."""
    changes: int = 0
    still_open: int = 0
    """Windows that were open where the live run has come to: their changes are its own."""
    seconds: float = 0.0
    by_account: dict[str, int] = field(default_factory=dict)
    """Changes."""


async def replay(
    settings: Settings,
    plan: Plan,
    ranges: Sequence[PartitionRange],
    *,
    given: GivenRules | None = None,
    saved: Mapping[Partition, tuple[int, bool]] | None = None,
    watch: Watch = lambda _read, _total, _changes: None,
) -> Replayed:
    """Send the changes of the range's windows; ended at any moment, it can be gone on with from what was saved.

    Args:
        settings: the same broker, group, epoch and pipeline times as the processors'.
        plan: what was asked for.
        ranges: what it means in each partition.
        given: the rules that the plan names; None: those of then.
        saved: by partition, the position from which to go on, and whether nothing more comes; as it was saved.
        watch: told of the progress.

    Raises:
        LogGapError: retention removed records that are needed.
        KafkaError: the broker is gone; what was saved before holds.
    """
    began, saved = time.monotonic(), saved or {}
    async with (
        LogReader.open(settings.kafka, client_id=plan.group) as reader,
        Producer.open(settings.kafka, client_id=plan.group) as producer,
        Bookmarks.open(settings.kafka, plan.group) as bookmarks,
    ):
        outlet = _Outlet(producer, bookmarks, plan)
        for one in ranges:
            outlet.note(one.partition, *saved.get(one.partition, (one.bounds.first, False)))
        # Before anything is sent: from now on it can be gone on with.
        await outlet.save()
        history = await read_rules_history(reader, settings.kafka.topic_prefix + RULES.name)
        replaying = _Replaying(settings, plan, reader=reader, outlet=outlet, history=history, given=given, watch=watch)
        async with outlet.saving_what_was_sent():
            done = await replaying.run(ranges)
    await delete_group(settings.kafka, plan.group)
    return replace(done, seconds=time.monotonic() - began)


class _Replaying:
    """Partition after partition."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        *,
        reader: LogReader,
        outlet: _Outlet,
        history: Sequence[RulesInForce],
        given: GivenRules | None,
        watch: Watch,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._reader = reader
        self._outlet = outlet
        self._history = history
        self._given = given
        self._watch = watch
        self._done = Replayed()
        self._total = 0
        self._selection = Selection(plan.accounts, fixed_rules=given is not None)

    async def run(self, ranges: Sequence[PartitionRange]) -> Replayed:
        starts = {one.partition: self._outlet.position(one.partition) for one in ranges}
        self._total = sum(max(0, one.stop - starts[one.partition]) for one in ranges)
        for one in ranges:
            if not self._outlet.is_over(one.partition):
                await self._partition(one, starts[one.partition])
        return self._done

    async def _partition(self, one: PartitionRange, start: int) -> None:
        core = await core_at(
            self._reader,
            self._settings,
            one.partition,
            start,
            history=self._history,
            selection=self._selection,
            given=self._given,
        )
        walk = RangeWalk(core, one.bounds, self._plan.types)
        position, done = start, self._done
        if not walk.is_over(start):
            async for batch in self._reader.read_parsed(one.partition, start, one.limit):
                changes: list[EntityChange] = []
                for at in range(0, len(batch), TURN):
                    changes += walk.feed(self._selection.see(batch[at : at + TURN]))
                    await asyncio.sleep(0)
                position = batch[-1].offset + 1
                await self._outlet.put(one.partition, changes, position)
                done.records += len(batch)
                done.changes += len(changes)
                for change in changes:
                    done.by_account[change.account] = done.by_account.get(change.account, 0) + 1
                self._watch(done.records, max(self._total, done.records), done.changes)
                if walk.is_over(position):
                    break
        still_open = walk.still_open()
        done.still_open += still_open
        await self._outlet.end(one.partition, position, is_over=walk.is_over(max(position, one.stop)))


class _Outlet:
    """Sends one lot while the next is being made, and saves the positions before which everything is acknowledged."""

    def __init__(self, producer: Producer, bookmarks: Bookmarks, plan: Plan) -> None:
        self._producer = producer
        self._bookmarks = bookmarks
        self._plan = plan
        self._more = tuple(plan.headers())
        self._positions: dict[Partition, tuple[int, bool]] = {}
        """By partition, and whether nothing more comes."""
        self._unsaved: set[Partition] = set()
        self._sending: asyncio.Task[None] | None = None
        self._then: tuple[Partition, int] | None = None
        """What holds when the lot that is on its way is acknowledged."""
        self._saved_at = time.monotonic()

    def position(self, partition: Partition) -> int:
        """Where to read on."""
        return self._positions[partition][0]

    def is_over(self, partition: Partition) -> bool:
        """Whether nothing more comes from it."""
        return self._positions[partition][1]

    def note(self, partition: Partition, position: int, is_over: bool) -> None:
        """Everything that comes of the records before the position is in the topic."""
        self._positions[partition] = position, is_over
        self._unsaved.add(partition)

    async def put(self, partition: Partition, changes: Sequence[EntityChange], position: int) -> None:
        """Send, after what was put before is acknowledged; returns before this is."""
        await self._settle()
        self._then = partition, position
        if changes:
            self._sending = asyncio.create_task(self._producer.send_all(self._outgoing(changes)))
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            await self.save()

    async def end(self, partition: Partition, position: int, *, is_over: bool) -> None:
        """Everything of the partition was put."""
        await self._settle()
        self.note(partition, position, is_over)
        await self.save()

    async def save(self) -> None:
        """Save what is acknowledged."""
        self._saved_at = time.monotonic()
        marks = {
            partition: Bookmark(self._positions[partition][0], self._text(partition)) for partition in self._unsaved
        }
        if marks:
            await self._bookmarks.put(marks)
            self._unsaved.clear()

    @asynccontextmanager
    async def saving_what_was_sent(self) -> AsyncIterator[None]:
        """If the block is cancelled, wait a moment for what is on its way, and save it."""
        try:
            yield
        except asyncio.CancelledError:
            # If it does not arrive in time it is sent again by whoever goes on.
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(LEAVE_S):
                    await self._settle()
                    await self.save()
            raise
        finally:
            if self._sending is not None:
                self._sending.cancel()
                await asyncio.wait({self._sending})

    def _text(self, partition: Partition) -> str:
        return write_note(Note(self._plan, is_over=self._positions[partition][1]))

    def _outgoing(self, changes: Sequence[EntityChange]) -> Sequence[Outgoing]:
        topic, more = self._plan.topic, self._more
        records = []
        for change in changes:
            key, value, headers = change_record(change)
            records.append((topic, key, value, [*headers, *more]))
        return records

    async def _settle(self) -> None:
        if self._sending is not None:
            # Not cancelled with us: what is on its way arrives all the same.
            await asyncio.shield(self._sending)
            self._sending = None
        if self._then is not None:
            self.note(*self._then, is_over=False)
            self._then = None
