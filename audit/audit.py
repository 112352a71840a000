"""Audits the processors: runs the core over the raw log again and compares ids and bytes with what is in the topics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from audit.comparison import Comparison
from audit.records import What, read_found
from audit.report import Report
from audit.walk import LogWalk
from processors.restore import rules_at
from processors.window import Origin
from runtime.kafka import LogReader, Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import Settings
from schemas.errors import LogGapError, SettingsError
from schemas.record import LogRecord
from schemas.rules import RulesInForce, decode_rules_in_force
from schemas.topics import CHANGES, DEADLETTERS, RULES, WEBHOOKS

OUTPUTS: dict[What, str] = {"change": CHANGES.name, "dead letter": DEADLETTERS.name, "rules": RULES.name}
NOTHING_LEFT_MS = 2**63
"""Retention removed everything: whatever is missing may have been there."""

Watch = Callable[[int, int], None]
"""Told how many records were read, and how many there are to read in all."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What there is of a partition."""

    partition: Partition
    beginning: int
    end: int


async def audit(settings: Settings, *, accounts: Collection[str] = (), keep: int | None, watch: Watch) -> Report:
    """Compare the topics with the raw log; reads only, and may run beside live workers.

    Args:
        settings: the same broker, group, epoch and pipeline times as the processors'.
        accounts: compare only these; empty: all. The whole log is read in any case: its time is every account's.
        keep: how many differences the report holds, those that come first in the log; None: all.
        watch: told of the progress.

    Raises:
        LogGapError: more is committed than the log holds, or the rules at its beginning cannot be read.
        SettingsError: an account is neither configured nor in the log.
        KafkaError: a topic is missing, or the broker is gone.
    """
    kafka, prefix = settings.kafka, settings.kafka.topic_prefix
    async with LogReader.open(kafka, client_id="audit") as reader:
        # In this order a live worker disturbs nothing: what is committed was sent before the ends of the outputs are
        # taken, and what stands before those was made of webhooks that stand before the end of the log.
        committed = await committed_offsets(kafka, settings.processors.group)
        outputs = {what: await _stretches(reader, prefix + name) for what, name in OUTPUTS.items()}
        log = await _stretches(reader, prefix + WEBHOOKS.name)
        _check_ends(log, committed)
        reading = _Reading(reader, watch, [*log, *(one for stretches in outputs.values() for one in stretches)])
        kept_from_ms = await _kept_from_ms(reader, outputs)
        comparison = Comparison(epoch=kafka.log_epoch, accounts=accounts, keep=keep, kept_from_ms=kept_from_ms)
        history = await _history(reader, outputs["rules"])
        for stretch in log:
            await _walk(settings, comparison, reading, stretch, committed=committed, history=history)
        for what, stretches in outputs.items():
            for stretch in stretches:
                async for batch in reading.read(stretch):
                    for record in batch:
                        if (found := read_found(what, record)) is not None:
                            comparison.found(found)
    for account in accounts:
        # Nothing about a name that nobody has is always right: a slip of the pen must not pass for an audit.
        if account not in settings.accounts and account not in comparison.homes:
            raise SettingsError(f"account {account} is neither in the configuration nor in the log")
    return Report(
        topics={"webhooks": prefix + WEBHOOKS.name, **{what: prefix + name for what, name in OUTPUTS.items()}},
        group=settings.processors.group,
        partitions=len(log),
        committed=any(stretch.partition in committed for stretch in log),
        differences=comparison.finish(),
        figures=comparison.figures,
        counts=comparison.counts,
    )


async def _walk(
    settings: Settings,
    comparison: Comparison,
    reading: _Reading,
    stretch: Stretch,
    *,
    committed: Mapping[Partition, int],
    history: Sequence[RulesInForce],
) -> None:
    """Tell the comparison what one partition of the raw log has to give."""
    partition, times = stretch.partition, settings.pipeline
    try:
        rules = rules_at(history, partition, stretch.beginning, max_ceiling_ms=times.max_ceiling_ms)
    except ValueError as error:
        raise LogGapError(
            f"the rules in force where {partition.topic}[{partition.number}] begins cannot be read: {error}"
        ) from error
    walk = LogWalk(
        comparison,
        Origin(partition.topic, partition.number, settings.kafka.log_epoch),
        times,
        rules,
        beginning=stretch.beginning,
        committed=committed.get(partition),
    )
    async for batch in reading.read(stretch):
        walk.feed(batch)
    walk.end()


class _Reading:
    """Reads stretches and tells how far it is."""

    def __init__(self, reader: LogReader, watch: Watch, stretches: Sequence[Stretch]) -> None:
        self._reader = reader
        self._watch = watch
        self._done = 0
        self._total = sum(stretch.end - stretch.beginning for stretch in stretches)

    async def read(self, stretch: Stretch) -> AsyncIterator[Sequence[LogRecord]]:
        """The records of a stretch, in batches."""
        before = self._done
        async for batch in self._reader.read(stretch.partition, stretch.beginning, stretch.end):
            yield batch
            # By offsets: they may have gaps.
            self._done = before + batch[-1].offset + 1 - stretch.beginning
            self._watch(self._done, self._total)
        self._done = before + stretch.end - stretch.beginning
        self._watch(self._done, self._total)


async def _stretches(reader: LogReader, topic: str) -> list[Stretch]:
    return [
        Stretch(partition, await reader.beginning(partition), await reader.end(partition))
        for partition in await reader.partitions(topic)
    ]


def _check_ends(log: Sequence[Stretch], committed: Mapping[Partition, int]) -> None:
    for stretch in log:
        if committed.get(stretch.partition, 0) > stretch.end:
            raise LogGapError(
                f"{stretch.partition.topic}[{stretch.partition.number}] ends at {stretch.end}, but "
                f"{committed[stretch.partition]} is committed: the log was cut off, or the topic made anew"
            )


async def _kept_from_ms(reader: LogReader, outputs: Mapping[What, Sequence[Stretch]]) -> dict[What, int]:
    """Per kind, the time up to which retention may have removed what was sent; without the kinds that are all there.

    Topics of the same retention do not lose their records at the same moment: whole segments go.
    """
    kept_from_ms: dict[What, int] = {}
    for what, stretches in outputs.items():
        for stretch in stretches:
            if what == "rules" or stretch.beginning == 0:  # the rules are kept for ever
                continue
            first_ms = await _first_ms(reader, stretch)
            kept_from_ms[what] = max(first_ms, kept_from_ms.get(what, 0))
    return kept_from_ms


async def _first_ms(reader: LogReader, stretch: Stretch) -> int:
    """Time of the first record; looks further where offsets have gaps."""
    start, reach = stretch.beginning, 1
    while start < stretch.end:
        stop = min(start + reach, stretch.end)
        times = [batch[0].timestamp async for batch in reader.read(stretch.partition, start, stop)]
        if times:
            return times[0]
        start, reach = stop, reach * 16
    return NOTHING_LEFT_MS


async def _history(reader: LogReader, stretches: Sequence[Stretch]) -> list[RulesInForce]:
    """The records of the rules topic that can be read; the others are differences, and found as such later."""
    history = []
    for stretch in stretches:
        async for batch in reader.read(stretch.partition, stretch.beginning, stretch.end):
            for record in batch:
                try:
                    history.append(decode_rules_in_force(record.value or b""))
                except ValueError:
                    continue
    return history
