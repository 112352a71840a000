"""Pure: whether every readable message in the raw log becomes part of exactly one change, by the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import CONTROL_HEADER, CONTROL_TICK
from tests.ingest_chaos.verdict import EXAMPLES, Sent
from tests.oracle import expect

TIMES = PipelineTimes(horizon_s=600, memory_s=4, max_ceiling_s=3)
"""The horizon is the product's default. The other two decide only how notifications are grouped, and small ones keep
the oracle fast."""


@dataclass(slots=True, kw_only=True)
class InChanges:
    """How often the messages in the log count."""

    messages: int = 0
    changes: int = 0
    duplicates: int = 0
    never: int = 0
    more_than_once: int = 0
    unreadable: int = 0
    not_quarantined: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether each readable message counts once, and each unreadable one is quarantined."""
        return self.never == self.more_than_once == self.not_quarantined == 0

    def line(self) -> str:
        """One line for people."""
        told = (
            f"changes: {self.messages} readable messages in {self.changes} changes, {self.duplicates} repeats dropped"
        )
        counted = f"{self.never} in none, {self.more_than_once} in more than one"
        return f"{told}, {counted}; {self.unreadable} unreadable, {self.not_quarantined} of them not quarantined"


def judge_changes(
    sent: Sequence[Sent], log: Mapping[int, Sequence[LogRecord]], *, passed_over: Iterable[str] = ()
) -> InChanges:
    """Let the oracle read the whole log; no change may have more than the 32 sources that it lists.

    Args:
        sent: every message, each with one notification at index 0.
        log: servicetrade.webhooks, by partition.
        passed_over: accounts whose records are left out.
    """
    told, others = InChanges(), {account.encode() for account in passed_over}
    counted: Counter[tuple[str, str]] = Counter()
    buried: set[tuple[bytes | None, bytes | None]] = set()
    stored: set[tuple[bytes | None, bytes | None]] = set()
    for number, whole in log.items():
        records = [record for record in whole if record.key not in others]
        result = expect([*records, *_end_of(records)], topic="log", partition=number, epoch=1, times=TIMES)
        told.changes += len(result.changes)
        told.duplicates += result.duplicates
        counted.update((change.account, source.message_id) for change in result.changes for source in change.sources)
        by_offset = {record.offset: record for record in records}
        buried |= {(by_offset[offset].key, by_offset[offset].value) for offset, _ in result.dead}
        stored |= {(record.key, record.value) for record in records}
    for message in sent:
        if message.name in stored:
            _count(message, counted[message.account, message.message_id], message.name in buried, told)
    del told.examples[EXAMPLES:]
    return told


def _end_of(records: Sequence[LogRecord]) -> list[LogRecord]:
    """A tick so late that it closes every window."""
    if not records:
        return []
    last = records[-1]
    late = last.timestamp + 10 * TIMES.memory_ms
    return [LogRecord(offset=last.offset + 1, timestamp=late, headers=((CONTROL_HEADER, CONTROL_TICK),))]


def _count(message: Sent, times: int, quarantined: bool, told: InChanges) -> None:
    if not message.readable:
        told.unreadable += 1
        told.not_quarantined += not quarantined or times > 0
        return
    told.messages += 1
    told.never += times == 0
    told.more_than_once += times > 1
    if times != 1:
        told.examples.append(f"in {times} changes: {message.account} {message.message_id}")
