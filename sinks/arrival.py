"""Pure: a change as it arrived at a sink, and the records that tell what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from schemas.change import Action, EntityChange, decode_change
from schemas.deadletter import DeadLetter
from schemas.delivery import Delivery, Outcome
from schemas.record import LogRecord
from schemas.topics import ACCOUNT_NAME

_ENTITY_ID = re.compile(r"[0-9]{1,19}")
_PLAIN = re.compile(r"[!-~]{1,200}")
_LONGEST_MESSAGE = 1_000  # characters: a header is read by people, and the record must stay within its limit


@dataclass(slots=True, kw_only=True)
class Arrival:
    """A change in the record that carried it, and how its delivery is going."""

    record: LogRecord
    change: EntityChange
    attempts: int = 0
    """Calls of the sink that failed on this change or settled it."""
    first_failure_ms: int | None = None


def read_arrival(record: LogRecord) -> Arrival:
    """The change in a record of servicetrade.changes.

    Raises:
        ValueError: it is none, or one whose identity no sink could work with.
    """
    change = decode_change(record.value or b"")
    named = {
        "id": (_PLAIN, change.id),
        "sequence": (_PLAIN, change.sequence),
        "account": (ACCOUNT_NAME, change.account),
        "entity_type": (_PLAIN, change.entity_type),
        "entity_id": (_ENTITY_ID, change.entity_id),
    }
    for name, (pattern, value) in named.items():
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"not an EntityChange: {name} is {value!r}")
    if change.action not in get_args(Action):
        raise ValueError(f"not an EntityChange: action is {change.action!r}")
    if not isinstance(change.last_at, int) or not 0 <= change.last_at < 2**63:
        raise ValueError(f"not an EntityChange: last_at is {change.last_at!r}")
    return Arrival(record=record, change=change)


def delivery_of(arrival: Arrival, *, sink: str, outcome: Outcome, reason: str, now_ms: int) -> Delivery:
    """The record for servicetrade.deliveries."""
    change = arrival.change
    return Delivery(
        change_id=change.id,
        sequence=change.sequence,
        account=change.account,
        entity_type=change.entity_type,
        entity_id=change.entity_id,
        sink=sink,
        outcome=outcome,
        reason=reason,
        attempts=arrival.attempts,
        # Two clocks, the broker's or the processors' and ours, may disagree.
        latency_ms=max(0, now_ms - arrival.record.timestamp),
    )


def dead_letter_of(
    record: LogRecord, *, sink: str, error: str, message: str, attempts: int, first_failure_ms: int, now_ms: int
) -> DeadLetter:
    """The reason why a record goes to servicetrade.deadletters."""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        stage=sink,
        error=error,
        message=message[:_LONGEST_MESSAGE],
        attempts=attempts,
        first_failure_ms=first_failure_ms,
        last_failure_ms=now_ms,
    )
