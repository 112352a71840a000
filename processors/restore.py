"""Rebuilds a partition's state by reading the end of its log again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from processors.consolidator import Consolidator
from processors.rules import AccountRules, read_rules
from processors.window import Origin
from runtime.kafka import LogReader, Partition
from schemas.errors import LogGapError
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord, Record
from schemas.rules import RulesInForce, decode_rules_in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A partition's state at its committed offset."""

    consolidator: Consolidator
    position: int
    """Offset of the next record to consume."""
    last_append_ms: int | None
    """Append time of the last record before it, or None if there is none."""
    records: int
    """How many records were read again."""
    seconds: float


async def read_rules_history(
    reader: LogReader, topic: str, *, on_foreign: Callable[[LogRecord], None] | None = None
) -> list[RulesInForce]:
    """Every record of the rules topic.

    Args:
        reader: not used by anyone else meanwhile.
        topic: full name.
        on_foreign: called with a record that is no rules, which is then passed over.

    Raises:
        ValueError: a record is no rules, and nobody is to be called.
    """
    history: list[RulesInForce] = []
    for partition in await reader.partitions(topic):
        start, stop = await reader.beginning(partition), await reader.end(partition)
        async for batch in reader.read(partition, start, stop):
            for record in batch:
                if record.value is None:
                    continue
                try:
                    history.append(decode_rules_in_force(record.value) if on_foreign is None else _own(record.value))
                except ValueError:
                    if on_foreign is None:
                        raise
                    on_foreign(record)
    return history


def _own(value: bytes) -> RulesInForce:
    """As decoded, if every part is what it should be."""
    entry = decode_rules_in_force(value)
    kinds = {"account": str, "version": str, "topic": str, "partition": int, "offset": int, "rules": dict}
    if wrong := [name for name, kind in kinds.items() if type(getattr(entry, name)) is not kind]:
        raise ValueError(f"{wrong[0]} is something else")
    return entry


def rules_at(
    history: Iterable[RulesInForce], partition: Partition, offset: int, *, max_ceiling_ms: int
) -> dict[str, AccountRules]:
    """Per account, the rules of the highest position before `offset` in the partition."""
    latest: dict[str, RulesInForce] = {}
    for entry in history:
        if (entry.topic, entry.partition) != (partition.topic, partition.number) or entry.offset >= offset:
            continue
        if entry.account not in latest or entry.offset > latest[entry.account].offset:
            latest[entry.account] = entry
    return {account: read_rules(entry.rules, max_ceiling_ms=max_ceiling_ms) for account, entry in latest.items()}


async def restore(
    reader: LogReader,
    partition: Partition,
    committed: int | None,
    *,
    epoch: int,
    times: PipelineTimes,
    history: Sequence[RulesInForce],
    oldest_ms: int,
    accept_loss: bool = False,
    on_batch: Callable[[], None] = lambda: None,
    rules: Mapping[str, AccountRules] | None = None,
    otherwise: AccountRules | None = None,
    see: Callable[[Sequence[LogRecord]], Iterable[Record]] = lambda batch: batch,
) -> Restored:
    """The state at `committed`, from the stretch of the log that it depends on.

    Args:
        reader: not used by anyone else meanwhile.
        partition: of the raw log.
        committed: the group's committed offset; None if there is none: then reading starts with the log.
        epoch: the operator's log epoch.
        times: settings of the pipeline.
        history: all records of tradewind.rules.
        oldest_ms: retention has removed nothing that is younger (Unix milliseconds).
        accept_loss: go on from what is left where retention removed records that are needed.
        on_batch: called for every batch that was read again.
        rules: in force at the beginning of the stretch, instead of what the history says.
        otherwise: of accounts that have had none, instead of the built-in ones.
        see: what the core is given of a batch; of every record at least its timestamp.

    Raises:
        LogGapError: retention removed records that were not processed, or part of the stretch.
    """
    began = time.monotonic()
    stretch = await _stretch(reader, partition, committed, times=times, oldest_ms=oldest_ms, accept_loss=accept_loss)
    if rules is None:
        rules = rules_at(history, partition, stretch.start, max_ceiling_ms=times.max_ceiling_ms)
    consolidator = Consolidator(Origin(partition.topic, partition.number, epoch), times, rules, otherwise)
    records = 0
    async for batch in reader.read(partition, stretch.start, stretch.position):
        consolidator.follow(see(batch))
        records += len(batch)
        on_batch()
    return Restored(
        consolidator=consolidator,
        position=stretch.position,
        last_append_ms=stretch.last_append_ms,
        records=records,
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The offsets from `start` up to `position` are to be read again."""

    start: int
    position: int
    last_append_ms: int | None = None
    """Append time of the last record of the stretch."""


async def _stretch(
    reader: LogReader,
    partition: Partition,
    committed: int | None,
    *,
    times: PipelineTimes,
    oldest_ms: int,
    accept_loss: bool,
) -> _Stretch:
    beginning = await reader.beginning(partition)
    if committed is None:
        return _Stretch(beginning, beginning)
    end = await reader.end(partition)
    if not accept_loss:
        _refuse_gap(partition, committed, beginning=beginning, end=end)
    position = min(max(committed, beginning), end)
    last_append_ms = await last_append_before(reader, partition, beginning, position)
    if last_append_ms is None:
        # Where nothing at all is left before the position, its windows were closed by ticks long before.
        return _Stretch(position, position)
    bound = last_append_ms - times.restore_ms
    start = min(position, await reader.first_at_or_after(partition, bound))
    if start == beginning > 0 and bound < oldest_ms and not accept_loss:
        raise LogGapError(
            f"{partition.topic}[{partition.number}] begins at {beginning}: retention removed records that the "
            f"state at {position} may depend on; --accept-loss goes on from what is left"
        )
    return _Stretch(start, position, last_append_ms)


def _refuse_gap(partition: Partition, committed: int, *, beginning: int, end: int) -> None:
    if committed > end:
        raise LogGapError(
            f"{partition.topic}[{partition.number}] ends at {end}, but {committed} is committed: the log was cut "
            "off, or the topic made anew (then raise kafka.log_epoch); --accept-loss goes on from the end"
        )
    if committed < beginning:
        raise LogGapError(
            f"{partition.topic}[{partition.number}] begins at {beginning}, but only what is before {committed} was "
            f"processed: {beginning - committed} records are lost to retention; --accept-loss goes on without them"
        )


async def last_append_before(reader: LogReader, partition: Partition, beginning: int, position: int) -> int | None:
    """Append time of the last record before `position`; looks back further where offsets have gaps."""
    reach = 1
    while position > beginning:
        start = max(beginning, position - reach)
        last: LogRecord | None = None
        async for batch in reader.read(partition, start, position):
            last = batch[-1]
        if last is not None:
            return last.timestamp
        if start == beginning:
            return None
        reach *= 16
    return None
