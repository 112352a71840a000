"""Pure: what the senders were told against what stands in the raw log: missing, repeated, out of order, never sent."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.record import LogRecord, header
from schemas.topics import RECEIPT_HEADER

EXAMPLES = 10
SENDER_TIMEOUT_S = 5.0
"""ServiceTrade hangs up after this time."""
ALLOWED_STATUSES = frozenset({503, *range(200, 300)})
"""What a valid URL may answer to a body below the limit: ServiceTrade takes a 4xx for delivered."""
Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request; times are seconds of one monotonic clock."""

    began: float
    ended: float
    status: int | None
    """None where no answer came."""
    reached: bool = True
    """Whether there was a connection: without one nobody can have taken the body."""
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message, and every request made for it, in order; the sender stops at the first 2xx."""

    account: str
    message_id: str
    body: bytes
    readable: bool
    """Whether the body is JSON in UTF-8."""
    attempts: tuple[Attempt, ...]

    @property
    def name(self) -> tuple[bytes, bytes]:
        """Key and value of the record that it must be."""
        return (self.account.encode(), self.body)

    @property
    def began(self) -> float:
        """When the first request began."""
        return self.attempts[0].began

    @property
    def answered_2xx(self) -> float | None:
        """When the 2xx came; None if the sender gave up."""
        last = self.attempts[-1]
        return last.ended if last.status is not None and 200 <= last.status < 300 else None


@dataclass(slots=True, kw_only=True)
class Verdict:
    """The figures of a run. All but the first five and the last three have to be 0."""

    sent: int = 0
    accepted: int = 0
    refused: int = 0
    refused_but_stored: int = 0
    """Given up by the sender, and in the log all the same: allowed."""
    records: int = 0
    missing: int = 0
    unexplained_repeats: int = 0
    """Receipts of a message beyond the requests that can have brought one."""
    out_of_order: int = 0
    strangers: int = 0
    """Records that nobody sent, with that key and these bytes."""
    without_receipt: int = 0
    shared_receipts: int = 0
    """Receipts that stand on records of different messages."""
    wrong_answers: int = 0
    same_receipt_twice: int = 0
    """Messages with several records of one receipt: allowed for an append that was spooled as well."""
    resent_twice: int = 0
    """Messages with several receipts, each explained by a request: allowed."""
    late: int = 0
    """Requests that had no answer when the sender hung up."""
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything is as promised."""
        return not any(
            (
                self.missing,
                self.unexplained_repeats,
                self.out_of_order,
                self.strangers,
                self.without_receipt,
                self.shared_receipts,
                self.wrong_answers,
            )
        )

    def tell(self, text: str) -> None:
        """Keep an example, unless there are enough."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


def judge(sent: Sequence[Sent], log: Mapping[int, Sequence[LogRecord]], *, passed_over: Iterable[str] = ()) -> Verdict:
    """Hold the raw log, its records in offset order per partition, against what was sent.

    Args:
        sent: every message; no two have the same account and body.
        log: servicetrade.webhooks, by partition.
        passed_over: accounts of which anything may stand in the log.

    Raises:
        ValueError: two messages are the same, so that the log could not tell them apart.
    """
    by_name = {message.name: message for message in sent}
    if len(by_name) != len(sent):
        raise ValueError("two messages have the same account and body")
    verdict = Verdict(sent=len(sent))
    others = {account.encode() for account in passed_over}
    found: dict[tuple[bytes, bytes], list[LogRecord]] = defaultdict(list)
    for number in sorted(log):
        for record in log[number]:
            if record.key in others:
                continue
            verdict.records += 1
            name = (record.key or b"", record.value or b"")
            if name in by_name:
                found[name].append(record)
            else:
                verdict.strangers += 1
                verdict.tell(f"never sent: {_where(record)} key {record.key!r}, {_shown(record.value)}")
    for message in sent:
        _answers(message, verdict)
        _copies(message, found.get(message.name, []), verdict)
    _receipts(found, verdict)
    for account in sorted({message.account for message in sent}):
        _order([message for message in sent if message.account == account], found, verdict)
    return verdict


def _answers(message: Sent, verdict: Verdict) -> None:
    verdict.late += sum(attempt.timed_out for attempt in message.attempts)
    for attempt in message.attempts:
        if attempt.status is not None and attempt.status not in ALLOWED_STATUSES:
            verdict.wrong_answers += 1
            verdict.tell(f"wrong answer: {message.account} {message.message_id} was answered {attempt.status}")


def _copies(message: Sent, records: Sequence[LogRecord], verdict: Verdict) -> None:
    """Count one message: is it there, and is each of its records explained."""
    if message.answered_2xx is None:
        verdict.refused += 1
        verdict.refused_but_stored += bool(records)
    else:
        verdict.accepted += 1
        if not records:
            verdict.missing += 1
            statuses = [attempt.status for attempt in message.attempts]
            verdict.tell(f"missing: {message.account} {message.message_id}, answered {statuses}")
    receipts = Counter(receipt for record in records if (receipt := header(record, RECEIPT_HEADER)))
    bare = len(records) - receipts.total()
    if bare:
        verdict.without_receipt += bare
        verdict.tell(f"without a receipt: {_where(records[0])} {message.message_id}")
    verdict.same_receipt_twice += any(times > 1 for times in receipts.values())
    requests = sum(attempt.reached for attempt in message.attempts)
    surplus = len(receipts) + bare - requests
    if surplus > 0 and records:
        verdict.unexplained_repeats += surplus
        places = [(_where(record), header(record, RECEIPT_HEADER)) for record in records]
        verdict.tell(f"unexplained repeat: {message.message_id}, {requests} requests, {places}")
    elif len(receipts) > 1:
        verdict.resent_twice += 1


def _receipts(found: Mapping[tuple[bytes, bytes], Sequence[LogRecord]], verdict: Verdict) -> None:
    owner: dict[bytes, tuple[bytes, bytes]] = {}
    for name, records in found.items():
        for receipt in {value for record in records if (value := header(record, RECEIPT_HEADER))}:
            if owner.setdefault(receipt, name) != name:
                verdict.shared_receipts += 1
                verdict.tell(f"receipt {receipt!r} stands on different messages, one at {_where(records[0])}")


def _order(sent: Sequence[Sent], found: Mapping[tuple[bytes, bytes], Sequence[LogRecord]], verdict: Verdict) -> None:
    """Of one account: a message that was answered 2xx before another one began stands before it.

    First copies count. For a sender that sends one after the other this is the order of sending.
    """
    first: list[tuple[Place, float, Sent]] = []
    for message in sent:
        records, answered = found.get(message.name), message.answered_2xx
        if records and answered is not None:
            first.append((min((record.partition, record.offset) for record in records), answered, message))
    partitions = {place[0] for place, _, _ in first}
    if len(partitions) > 1:
        verdict.out_of_order += 1
        verdict.tell(f"out of order: {sent[0].account} stands in partitions {sorted(partitions)}")
        return
    earliest: tuple[float, Sent | None] = (math.inf, None)
    for place, answered, message in sorted(first, key=lambda one: one[0], reverse=True):
        if earliest[1] is not None and earliest[0] < message.began:
            verdict.out_of_order += 1
            told = f"out of order: {message.account} {message.message_id} at {place} stands before"
            verdict.tell(
                f"{told} {earliest[1].message_id}, answered {message.began - earliest[0]:.3f} s before it began"
            )
        if answered < earliest[0]:
            earliest = (answered, message)


def _where(record: LogRecord) -> str:
    return f"[{record.partition}]@{record.offset}"


def _shown(value: bytes | None) -> str:
    return f"{len(value or b'')} bytes {(value or b'')[:100]!r}"
