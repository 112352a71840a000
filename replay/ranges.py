"""Finds which offsets a replay's times mean in each partition, and refuses what the log cannot give."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from processors.restore import last_append_before
from replay.walk import Bounds
from runtime.kafka import LogReader, Partition, partition_of
from runtime.kafka.topics import committed_offsets
from runtime.settings import Settings
from schemas.errors import LogGapError, SettingsError
from schemas.moments import shown_moment
from schemas.suggestion import did_you_mean
from schemas.topics import WEBHOOKS


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRange:
    """What is to be read of one partition."""

    partition: Partition
    bounds: Bounds
    limit: int
    """What the live run has committed: reading ends there at the latest."""
    reached_ms: int | None = None
    """Append time of what waits there for the live run; None if the live run has come to the end of the range."""

    @property
    def is_empty(self) -> bool:
        """Whether no record of the log is in the range."""
        return self.bounds.first >= self.bounds.second

    @property
    def stop(self) -> int:
        """Where the range ends as far as the live run has come."""
        return max(self.bounds.first, min(self.bounds.second, self.limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whose records are wanted, and from when to when (Unix milliseconds, the end excluded)."""

    from_ms: int
    to_ms: int
    accounts: Sequence[str] = ()


async def find_ranges(
    reader: LogReader, settings: Settings, span: Span, saved: Mapping[Partition, tuple[int, bool]] | None = None
) -> list[PartitionRange]:
    """The partitions in which there is something to replay.

    Args:
        reader: not used by anyone else meanwhile.
        settings: the same group, epoch and pipeline times as the processors'.
        span: what is wanted.
        saved: of a replay that is gone on with: by partition its position, and whether nothing more comes. What is
            before a position needs not be there any more; whether the state at it can be known shows when it is.

    Raises:
        SettingsError: no record is in the range, the live run has not come so far, or an account is nowhere.
        LogGapError: retention removed records that the range or the state at its beginning needs.
        KafkaError: the topic does not exist, or the broker is gone.
    """
    partitions = await reader.partitions(settings.kafka.topic_prefix + WEBHOOKS.name)
    numbers = [partition.number for partition in partitions]
    homes = {partition_of(account.encode(), numbers) for account in span.accounts} or set(numbers)
    chosen = [partition for partition in partitions if partition.number in homes]
    committed = await committed_offsets(settings.kafka, settings.processors.group)
    found, saved = [], saved or {}
    for partition in chosen:
        end = await reader.end(partition)
        first = min(end, await reader.first_at_or_after(partition, span.from_ms))
        second = max(first, await reader.first_at_or_after(partition, span.to_ms))
        limit = min(committed.get(partition, 0), end)
        if partition not in saved:
            await _refuse_gap(reader, settings, partition, span)
        reached_ms = None if limit >= second else await first_append_ms(reader, partition, limit)
        bounds = Bounds(first, second)
        found.append(PartitionRange(partition=partition, bounds=bounds, limit=limit, reached_ms=reached_ms))
    if saved:
        # Also where retention has left nothing of the range since: whether that was needed is seen at the position.
        return [one for one in found if one.partition in saved or not one.is_empty]
    for account in span.accounts:
        if account not in settings.accounts:
            await _require_seen(reader, settings, account, found, numbers)
    if all(one.is_empty for one in found):
        raise SettingsError(await _nothing(reader, chosen, span))
    ranges = [one for one in found if not one.is_empty]
    if all(one.limit <= one.bounds.first for one in ranges):
        raise SettingsError(
            f"the live run (group {settings.processors.group}) has not come to {shown_moment(span.from_ms)} UTC yet: "
            "what it has not done is not replayed"
        )
    return ranges


async def _refuse_gap(reader: LogReader, settings: Settings, partition: Partition, span: Span) -> None:
    """Refuse where retention may have removed what the state at the beginning of the range depends on."""
    beginning = await reader.beginning(partition)
    needed_ms = span.from_ms - settings.pipeline.restore_ms
    oldest_ms = round(time.time() * 1000) - settings.kafka.retention_ms
    if beginning == 0 or needed_ms >= oldest_ms:
        return
    if await reader.first_at_or_after(partition, needed_ms) > beginning:
        return
    first_ms = await first_append_ms(reader, partition)
    begins = "nothing is left of it" if first_ms is None else f"it begins with {shown_moment(first_ms)}"
    raise LogGapError(
        f"retention removed part of {partition.topic}[{partition.number}]: {begins}, and a replay from "
        f"{shown_moment(span.from_ms)} needs it from {shown_moment(needed_ms)} UTC "
        "(memory + max_ceiling + horizon before)"
    )


async def first_append_ms(reader: LogReader, partition: Partition, position: int = 0) -> int | None:
    """Append time of the first record that is left, from a position on; None if there is none."""
    start, end, reach = max(position, await reader.beginning(partition)), await reader.end(partition), 1
    while start < end:
        stop = min(start + reach, end)
        times = [batch[0].timestamp async for batch in reader.read(partition, start, stop)]
        if times:
            return times[0]
        start, reach = stop, reach * 16  # offsets can have gaps
    return None


async def _nothing(reader: LogReader, partitions: Sequence[Partition], span: Span) -> str:
    """A sentence about what there is instead."""
    firsts = [await first_append_ms(reader, partition) for partition in partitions]
    lasts = [
        await last_append_before(reader, one, await reader.beginning(one), await reader.end(one)) for one in partitions
    ]
    known = [ms for ms in firsts if ms is not None], [ms for ms in lasts if ms is not None]
    whose = f" in the partition of {', '.join(span.accounts)}" if span.accounts else ""
    there = "nothing at all"
    if known[0] and known[1]:
        there = f"from {shown_moment(min(known[0]))} to {shown_moment(max(known[1]))} UTC"
    wanted = f"from {shown_moment(span.from_ms)} to {shown_moment(span.to_ms)} UTC"
    return f"no webhook was received {wanted}{whose}: the log holds {there}"


async def _require_seen(
    reader: LogReader,
    settings: Settings,
    account: str,
    ranges: Collection[PartitionRange],
    numbers: Sequence[int],
) -> None:
    """Refuse the name of an account that is in the range nowhere; whether it is configured was looked at before."""
    home = partition_of(account.encode(), numbers)
    for one in ranges:
        if one.partition.number != home:
            continue
        async for batch in reader.read(one.partition, one.bounds.first, one.bounds.second):
            if any(record.key == account.encode() for record in batch):
                return
    hint = did_you_mean(account, sorted(settings.accounts), "configured are")
    raise SettingsError(f"account {account} is neither in the configuration nor in this part of the log; {hint}")
