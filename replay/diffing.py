"""Runs the core twice over the same records, under the rules of then and under others, and tells what differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from processors.consolidator import Consolidator
from processors.notification import parse
from processors.restore import rules_at
from processors.rules import AccountRules
from processors.why_filtered import why_filtered
from replay.core import core_at
from replay.given_rules import GivenRules, read_copies
from replay.matching import Kind, Match, Matcher
from replay.ranges import PartitionRange
from replay.replaying import Watch
from replay.selection import Selection
from replay.tally import Tally
from replay.unread import Unread, unread_of
from replay.walk import Bounds
from runtime.kafka import LogReader, Partition
from runtime.settings import Settings
from schemas.change import EntityChange, Source
from schemas.rules import RulesInForce

Tell = Callable[[Match], None]
"""Told of every match that is not the same."""
REASONS = 3
"""Of an example, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A match, and why its notifications did not get through on one of the sides."""

    match: Match
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What other rules would have changed."""

    tally: Tally
    examples: dict[Kind, list[Example]]
    records: int
    """Of the raw log."""
    seconds: float
    unread: list[Unread]
    """By partition: what the live run has not come to."""


async def diff(
    settings: Settings,
    ranges: Sequence[PartitionRange],
    given: GivenRules,
    *,
    accounts: Collection[str] = (),
    types: Collection[str] = (),
    has_path: Callable[[str], bool],
    watch: Watch = lambda _read, _total, _changes: None,
    tell: Tell = lambda _match: None,
) -> Compared:
    """Compare; nothing is written anywhere.

    Args:
        settings: the same group, epoch and pipeline times as the processors'.
        ranges: what of each partition is compared.
        given: the other rules.
        accounts: only these; empty: all.
        types: only changes of these entity types; empty: all.
        has_path: whether an entity type can be read from the API.
        watch: told of the progress: records read, in all, and changes of both runs.
        tell: told of every match that is not the same, in the order in which they are settled.

    Raises:
        LogGapError: retention removed records that are needed.
        KafkaError: the broker is gone.
    """
    began = time.monotonic()
    async with LogReader.open(settings.kafka, client_id="replay-diff") as reader:
        history, _ = await read_copies(reader, settings)
        comparing = _Comparing(settings, reader, history, given, Tally(has_path))
        comparing.watch, comparing.tell = watch, tell
        comparing.total = sum(one.stop - one.bounds.first for one in ranges)
        for one in ranges:
            await comparing.partition(one, accounts, frozenset(types))
        examples: dict[Kind, list[Example]] = {}
        for kind, kept in comparing.tally.examples.items():
            examples[kind] = [await comparing.explain(number, match) for number, match in kept]
    return Compared(
        tally=comparing.tally,
        examples=examples,
        records=comparing.records,
        seconds=time.monotonic() - began,
        unread=[unread for one in ranges for unread in unread_of(one)],
    )


class _Comparing:
    """Partition after partition."""

    def __init__(
        self,
        settings: Settings,
        reader: LogReader,
        history: Sequence[RulesInForce],
        given: GivenRules,
        tally: Tally,
    ) -> None:
        self.tally = tally
        self.records = self.total = 0
        self.watch: Watch = lambda _read, _total, _changes: None
        self.tell: Tell = lambda _match: None
        self._changes = 0
        self._settings = settings
        self._reader = reader
        self._history = history
        self._given = given
        self._topic = ""

    async def partition(self, one: PartitionRange, accounts: Collection[str], types: frozenset[str]) -> None:
        partition, bounds = one.partition, one.bounds
        self._topic = partition.topic
        seen_then, seen_now = Selection(accounts), Selection(accounts, fixed_rules=True)
        then = await self._core(partition, bounds.first, seen_then, None)
        now = await self._core(partition, bounds.first, seen_now, self._given)
        matcher, position = Matcher(bounds), bounds.first
        async for batch in self._reader.read_parsed(partition, bounds.first, one.limit):
            some, others = then.feed(seen_then.see(batch)).changes, now.feed(seen_now.see(batch)).changes
            if types:
                some = [change for change in some if change.entity_type in types]
                others = [change for change in others if change.entity_type in types]
            for match in matcher.settled(matcher.add(some, others), then, now):
                if self.tally.add(match, bounds, partition.number) != "same":
                    self.tell(match)
            position = batch[-1].offset + 1
            self.records += len(batch)
            self._changes += len(some) + len(others)
            self.watch(self.records, max(self.total, self.records), self._changes)
            if position >= bounds.second and not matcher.waiting() and not _is_open(bounds.second, then, now):
                break
        # An entity may have windows open in both runs, and closed ones that these may join.
        self.tally.still_open += len(matcher.waiting_keys() | open_keys(bounds, types, then, now))

    async def _core(
        self, partition: Partition, position: int, selection: Selection, given: GivenRules | None
    ) -> Consolidator:
        return await core_at(
            self._reader,
            self._settings,
            partition,
            position,
            history=self._history,
            selection=selection,
            given=given,
        )

    async def explain(self, number: int, match: Match) -> Example:
        """Read the notifications of an example again, and say which rule filters them."""
        sides = [(match.then, match.now), (match.now, match.then)]
        reasons: list[str] = []
        for (mine, others), is_then in zip(sides, (False, True), strict=True):
            # What one side has and the other has not was filtered there: repeats are the same to both.
            missing = [source for change in mine for source in change.sources if not _has(others, source)]
            for source in missing[: REASONS - len(reasons)]:
                reason = await self._why(Partition(self._topic, number), match, source, then=is_then)
                if reason is not None and reason not in reasons:
                    reasons.append(reason)
        return Example(match=match, reasons=reasons)

    async def _why(self, partition: Partition, match: Match, source: Source, *, then: bool) -> str | None:
        account = match.changes[0].account
        if then:
            largest = self._settings.pipeline.max_ceiling_ms
            by_account = rules_at(self._history, partition, source.offset + 1, max_ceiling_ms=largest)
        else:
            by_account = dict(self._given.by_account)
        rules = by_account.get(account, AccountRules())
        async for batch in self._reader.read(partition, source.offset, source.offset + 1):
            for record in batch:
                webhook = parse(record.value or b"", appended_ms=record.timestamp, only={source.index})
                for notification in webhook.notifications:
                    return why_filtered(rules, notification)
        return None


def _has(changes: Sequence[EntityChange], source: Source) -> bool:
    return any(source in change.sources for change in changes)


def open_keys(bounds: Bounds, types: Collection[str], *cores: Consolidator) -> set[str]:
    """The entities (`account/type/id`) of which one of the runs has a window of the range open."""
    return {
        one.key
        for core in cores
        for one in core.openings()
        if bounds.first <= one.offset < bounds.second and (not types or one.key.split("/")[1] in types)
    }


def _is_open(second: int, *cores: Consolidator) -> bool:
    """Whether a window of one of them was opened before that offset."""
    oldest = [next(core.openings(), None) for core in cores]
    return any(one is not None and one.offset < second for one in oldest)
