"""Pure: changes as they arrive at a sink, and the deliveries that tell what became of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import get_args

from schemas.change import Action, EntityChange, decode_change
from schemas.delivery import Delivery
from schemas.delivery import Outcome as DeliveryOutcome
from schemas.encoding import encode
from schemas.errors import Reject
from schemas.record import LogRecord
from schemas.topics import ACCOUNT_NAME, CHANGES, DELIVERIES
from sinks.arrival import Arrival, is_redriven, meant_for
from sinks.feed import Told
from sinks.outcome import Outcome, Skipped

_ENTITY_ID = re.compile(r"[0-9]{1,19}")
_PLAIN = re.compile(r"[!-~]{1,200}")


def everything(_change: EntityChange) -> bool:
    """No filter."""
    return True


class ChangesFeed:
    """`sinks.feed.Feed` of servicetrade.changes.

    Args:
        wants: whether the sink wants a change; one that it does not is passed over without a word.
    """

    topic = CHANGES
    outcomes = DELIVERIES

    def __init__(self, wants: Callable[[EntityChange], bool] = everything) -> None:
        self._wants = wants

    def read(self, record: LogRecord, sink: str) -> Arrival[EntityChange] | None:
        """See `sinks.feed.Feed`."""
        if not meant_for(record, sink):
            return None
        change = read_change(record)
        if not self._wants(change):
            return None
        again = is_redriven(record)
        return Arrival(record=record, item=change, account=change.account, key=change.key, again=again)

    def tell(self, arrival: Arrival[EntityChange], outcome: Outcome, *, sink: str, now_ms: int) -> Told:
        """See `sinks.feed.Feed`."""
        if isinstance(outcome, Skipped):
            return _told(arrival, "skipped", outcome.reason, sink, now_ms)
        return _told(arrival, "delivered", "", sink, now_ms)

    def tell_rejected(self, arrival: Arrival[EntityChange], error: Reject, *, sink: str, now_ms: int) -> Told:
        """See `sinks.feed.Feed`."""
        return _told(arrival, "dead-lettered", str(error), sink, now_ms)


def read_change(record: LogRecord) -> EntityChange:
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
    return change


def _told(arrival: Arrival[EntityChange], outcome: DeliveryOutcome, reason: str, sink: str, now_ms: int) -> Told:
    change = arrival.item
    # Two clocks, the broker's or the processors' and ours, may disagree.
    latency_ms = max(0, now_ms - arrival.record.timestamp)
    delivery = Delivery(
        change_id=change.id,
        sequence=change.sequence,
        account=change.account,
        entity_type=change.entity_type,
        entity_id=change.entity_id,
        sink=sink,
        outcome=outcome,
        reason=reason,
        attempts=arrival.attempts,
        latency_ms=latency_ms,
    )
    return Told(value=encode(delivery), outcome=outcome, latency_ms=latency_ms)
