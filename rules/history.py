"""Which rules each account has, has had, and is about to have: read from tradewind.rules and the raw log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from processors.consolidator import Consolidator
from processors.window import Origin
from runtime.kafka import LogReader, Partition, partition_of
from runtime.kafka.topics import committed_offsets
from runtime.settings import Settings
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord, header
from schemas.rules import RulesInForce, decode_rules_in_force
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, RULES, WEBHOOKS

Watch = Callable[[int, int], None]
"""Told how many records were read, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesEntry:
    """One control record that is rules."""

    entry: RulesInForce
    reached: bool
    """Whether the processors have read it; if not, it waits in the log."""
    at_ms: int
    """Its append time, or that of its copy on tradewind.rules."""
    is_exact: bool = True
    """False where `at_ms` is that of the copy: the processors may have been late. See `dated`."""

    @property
    def partition(self) -> Partition:
        """Where it stands."""
        return Partition(self.entry.topic, self.entry.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesLog:
    """What the topics say about the rules of some accounts."""

    entries: Mapping[str, Sequence[RulesEntry]]
    """By account, in the order of the log; an account without rules of its own is not in it."""
    positions: Mapping[Partition, int | None]
    """Where the processors are in the partitions that were looked at; None: nothing is committed."""
    homes: Mapping[str, Partition]
    """The partition of each account that was asked for."""
    beginnings: Mapping[Partition, int]
    """What retention has left of the partitions that were looked at begins there."""
    foreign: int
    """Records on tradewind.rules that are no rules."""

    def of(self, account: str) -> Sequence[RulesEntry]:
        """The account's rules in its own partition, in order."""
        mine = self.entries.get(account, ())
        return [one for one in mine if one.partition == self.homes.get(account)]

    def latest(self, account: str) -> RulesEntry | None:
        """What holds at the end of the log, reached or not; None: what is built in."""
        mine = self.of(account)
        return mine[-1] if mine else None

    def in_force(self, account: str) -> RulesEntry | None:
        """The latest that the processors have reached; None: what is built in."""
        return next((one for one in reversed(self.of(account)) if one.reached), None)

    def waiting(self, account: str) -> Sequence[RulesEntry]:
        """What stands in the log and the processors have not reached, in order."""
        return [one for one in self.of(account) if not one.reached]


async def read_rules_log(
    reader: LogReader,
    settings: Settings,
    accounts: Iterable[str] | None = None,
    *,
    watch: Watch = lambda _done, _all: None,
) -> RulesLog:
    """Read the copies on tradewind.rules, and in the raw log what the processors have not copied yet.

    Args:
        reader: not used by anyone else meanwhile.
        settings: where the topics are, and the processors' group.
        accounts: of these; None: of all that are configured or have had rules.
        watch: told about the progress.

    Raises:
        KafkaError: the broker is gone, or a topic is missing.
    """
    prefix = settings.kafka.topic_prefix
    partitions = await reader.partitions(prefix + WEBHOOKS.name)
    # Before the copies: what the processors copy meanwhile is then in what is read of the raw log.
    committed = await committed_offsets(settings.kafka, settings.processors.group)
    copies, foreign = await _copies(reader, prefix + RULES.name)
    known = {copy.entry.account for copy in copies}
    wanted = [*dict.fromkeys((*settings.accounts, *sorted(known)) if accounts is None else accounts)]
    numbers = [partition.number for partition in partitions]
    homes = {name: Partition(partitions[0].topic, partition_of(name.encode(), numbers)) for name in wanted}
    found = {_place(copy): copy for copy in copies if copy.entry.account in homes}
    beginnings: dict[Partition, int] = {}
    stretches: dict[Partition, tuple[int, int]] = {}
    for partition in sorted({*homes.values()}):
        beginnings[partition], end = await reader.beginning(partition), await reader.end(partition)
        stretches[partition] = max(beginnings[partition], committed.get(partition, 0)), end
        # Copies from a log by the same name that was longer are about something else.
        found = {place: one for place, one in found.items() if one.partition != partition or place[2] < end}
    for entry in await _not_copied(reader, stretches, settings.pipeline, watch):
        if entry.entry.account in homes:
            found.setdefault(_place(entry), entry)
    entries: dict[str, list[RulesEntry]] = {}
    for place in sorted(found):
        entries.setdefault(found[place].entry.account, []).append(found[place])
    positions = {partition: committed.get(partition) for partition in stretches}
    return RulesLog(entries=entries, positions=positions, homes=homes, beginnings=beginnings, foreign=foreign)


async def rules_at_time(reader: LogReader, log: RulesLog, account: str, at_ms: int) -> RulesEntry | None:
    """The rules for what was appended at that time (Unix milliseconds), or just after; None: what is built in."""
    partition = log.homes[account]
    offset = await reader.first_at_or_after(partition, at_ms + 1)
    beginning = await reader.beginning(partition)
    before: RulesEntry | None = None
    for one in log.of(account):
        # What retention has removed is told by the time of its copy.
        if (one.entry.offset < offset) if one.entry.offset >= beginning else (one.at_ms <= at_ms):
            before = one
    return before


async def dated(reader: LogReader, log: RulesLog, one: RulesEntry) -> RulesEntry:
    """With the append time of the control record itself, where the log still has it; that takes a read."""
    offset = one.entry.offset
    if one.is_exact or offset < log.beginnings.get(one.partition, offset + 1):
        return one
    async for batch in reader.read(one.partition, offset, offset + 1):
        return replace(one, at_ms=batch[0].timestamp, is_exact=True)
    return one


def _place(entry: RulesEntry) -> tuple[str, int, int]:
    return entry.entry.topic, entry.entry.partition, entry.entry.offset


async def _copies(reader: LogReader, topic: str) -> tuple[list[RulesEntry], int]:
    """The first copy of each control record, and how many records are none."""
    found: dict[tuple[str, int, int], RulesEntry] = {}
    foreign = 0
    for partition in await reader.partitions(topic):
        start, stop = await reader.beginning(partition), await reader.end(partition)
        async for batch in reader.read(partition, start, stop):
            for record in batch:
                try:
                    entry = _decode(record.value or b"")
                except ValueError:
                    foreign += 1
                    continue
                copy = RulesEntry(entry=entry, reached=True, at_ms=record.timestamp, is_exact=False)
                found.setdefault(_place(copy), copy)
    return [*found.values()], foreign


def _decode(value: bytes) -> RulesInForce:
    entry = decode_rules_in_force(value)
    kinds = {"account": str, "version": str, "topic": str, "partition": int, "offset": int, "rules": dict}
    if wrong := [name for name, kind in kinds.items() if type(getattr(entry, name)) is not kind]:
        raise ValueError(f"{wrong[0]} is something else")
    return entry


async def _not_copied(
    reader: LogReader, stretches: Mapping[Partition, tuple[int, int]], times: PipelineTimes, watch: Watch
) -> list[RulesEntry]:
    """The control records of stretches of the raw log that the core takes for rules."""
    done, total = 0, sum(max(0, stop - start) for start, stop in stretches.values())
    found: list[RulesEntry] = []
    for partition, (start, stop) in stretches.items():
        controls: list[LogRecord] = []
        async for batch in reader.read(partition, start, stop):
            controls += [
                record for record in batch if record.headers and header(record, CONTROL_HEADER) == CONTROL_RULES
            ]
            done += len(batch)
            watch(done, total)
        # The core itself says what it will take for rules; what is open or remembered has no part in that.
        core = Consolidator(Origin(partition.topic, partition.number, 0), times)
        at_ms = {record.offset: record.timestamp for record in controls}
        found += [
            RulesEntry(entry=entry, reached=False, at_ms=at_ms[entry.offset]) for entry in core.feed(controls).rules
        ]
    return found
