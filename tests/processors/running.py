"""How the tests run the core, and how they write small logs by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from processors.consolidator import Consolidator, Outcome
from processors.rules import AccountRules, read_rules
from processors.window import Origin
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from tests.processors.strategies import TICK, Log

TIMES = PipelineTimes()
ORIGIN = Origin("servicetrade.webhooks", 3, 2)


def rules_of(log: Log) -> dict[str, AccountRules]:
    """The rules in force before the log, by account."""
    largest = log.times.max_ceiling_ms
    return {name: read_rules(rules, max_ceiling_ms=largest) for name, rules in log.rules_before.items()}


def core_for(log: Log, rules: Mapping[str, AccountRules] | None = None) -> Consolidator:
    """A fresh consolidator for the log's partition."""
    origin = Origin(log.topic, log.partition, log.epoch)
    return Consolidator(origin, log.times, rules_of(log) if rules is None else rules)


Written = tuple[list[bytes], list[tuple[int, list[tuple[str, bytes]]]], list[bytes]]


def written(outcomes: Sequence[Outcome]) -> Written:
    """The bytes that the outcomes amount to: to Python 1, 1.0 and True are equal, to a reader of the topic not."""
    return (
        [encode(change) for outcome in outcomes for change in outcome.changes],
        [(record.offset, letter.headers()) for outcome in outcomes for record, letter in outcome.dead_letters],
        [encode(rules) for outcome in outcomes for rules in outcome.rules],
    )


def balance(core: Consolidator) -> tuple[int, ...]:
    """notifications, merged, duplicates, filtered, quarantined, still open"""
    book = core.ledger
    return (
        book.notifications,
        book.merged,
        book.duplicates,
        book.filtered,
        book.quarantined,
        core.open_notifications,
    )


def element(entity_id: Any = 1, *, action: str = "updated", entity_type: str = "job", **more: Any) -> dict[str, Any]:
    """One notification as ServiceTrade writes it."""
    return {"entity": {"type": entity_type, "id": entity_id}, "action": action, "timestamp": 5, **more}


def webhook(
    offset: int, timestamp: int, *elements: Any, account: str = "acme", message_id: str | None = None
) -> LogRecord:
    """A webhook record; its message id is its own unless given."""
    body = {"messageId": message_id or f"message-{offset}", "data": list(elements or (element(),))}
    return LogRecord(offset=offset, timestamp=timestamp, key=account.encode(), value=json.dumps(body).encode())


def tick(offset: int, timestamp: int) -> LogRecord:
    """A control record that moves time and does no more."""
    return LogRecord(offset=offset, timestamp=timestamp, key=b"acme", value=b"", headers=TICK)


def core_with(rule: Mapping[str, Any] | None = None, times: PipelineTimes = TIMES) -> Consolidator:
    """A consolidator in which one rule holds for everything of the account acme."""
    resolved = {"default": dict(rule or {}), "types": {}}
    return Consolidator(ORIGIN, times, {"acme": read_rules(resolved, max_ceiling_ms=times.max_ceiling_ms)})
