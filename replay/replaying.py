"""Replays a range of the raw log into a topic; it can be ended at any time, and gone on with from any machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from replay.core import core_at
from replay.given_rules import GivenRules, read_copies
from replay.outlet import Outlet
from replay.plan import Plan, require_its_settings
from replay.ranges import PartitionRange
from replay.selection import Selection
from replay.unread import Unread, unread_of
from replay.walk import RangeWalk
from runtime.kafka import LogReader, Partition, Producer
from runtime.kafka.bookmarks import Bookmarks, delete_group
from runtime.settings import Settings
from schemas.change import EntityChange
from schemas.rules import RulesInForce

TURN = 1_000
"""Records, after which what is fetched and what is sent meanwhile has its turn."""

Watch = Callable[[int, int, int], None]
"""Told how many records were read, how many there are in all, and how many changes came of them."""


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
    unread: list[Unread] = field(default_factory=list)
    """By partition: what the live run has not come to."""


async def replay(
    settings: Settings,
    plan: Plan,
    ranges: Sequence[PartitionRange],
    *,
    given: GivenRules | None = None,
    saved: Mapping[Partition, tuple[int, bool]] | None = None,
    watch: Watch = lambda _read, _total, _changes: None,
    begun: Callable[[], None] = lambda: None,
) -> Replayed:
    """Send the changes of the range's windows; ended at any moment, it can be gone on with from what was saved.

    Args:
        settings: the same broker, group, epoch and pipeline times as the processors'.
        plan: what was asked for.
        ranges: what it means in each partition.
        given: the rules that the plan names; None: those of then.
        saved: by partition, the position from which to go on, and whether nothing more comes; as it was saved.
        watch: told of the progress.
        begun: called as soon as it can be gone on with.

    Raises:
        SettingsError: the plan was made under another epoch or other times.
        LogGapError: retention removed records that are needed.
        KafkaError: the broker is gone; what was saved before holds.
    """
    began, saved = time.monotonic(), saved or {}
    require_its_settings(plan, settings.pipeline, settings.kafka.log_epoch)
    async with (
        LogReader.open(settings.kafka, client_id=plan.group) as reader,
        Producer.open(settings.kafka, client_id=plan.group) as producer,
        Bookmarks.open(settings.kafka, plan.group) as bookmarks,
    ):
        outlet = Outlet(producer, bookmarks, plan)
        for one in ranges:
            outlet.note(one.partition, *saved.get(one.partition, (one.bounds.first, False)))
        # Before anything is sent: from now on it can be gone on with.
        await outlet.save()
        begun()
        history, _ = await read_copies(reader, settings)
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
        outlet: Outlet,
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
            if not self._outlet.is_over(one.partition):
                self._done.unread += unread_of(one, self._outlet.position(one.partition))
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
