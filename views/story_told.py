"""Pure: tells what stands in the raw log: webhooks and what became of them, windows, rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from processors.notification import Notification, Unreadable
from processors.rules import AccountRules, EntityRule
from processors.why_filtered import place_of_rule, why_filtered
from schemas.change import EntityChange
from schemas.deadletter import DeadLetter, redrives_of
from schemas.moments import shown_span
from schemas.record import LogRecord, header
from schemas.topics import RECEIPT_HEADER
from views.story_event import SHORT_ID, Event, Tone, many
from views.story_sightings import Sighting

Verdict = Literal["opened", "joined", "repeat", "filtered"]
LATE_MS = 5_000
"""ServiceTrade's times are whole seconds, and it hangs up after 5 s: what takes longer was not the first attempt."""
MOST_FIELDS, LONGEST_VALUE = 4, 40
_VERDICTS: dict[Verdict, str] = {
    "opened": "opens a window",
    "joined": "joins the window",
    "repeat": "dropped",
    "filtered": "dropped",
}
_COUNTED: dict[Verdict, str] = {
    "opened": "opens a window",
    "joined": "joined the window",
    "filtered": "filtered",
    "repeat": "repeated",
}
_TONES: dict[Verdict, Tone] = {"opened": "plain", "joined": "plain", "repeat": "quiet", "filtered": "quiet"}


def webhook(
    record: LogRecord,
    message_id: str,
    notification: Notification,
    verdict: Verdict,
    *,
    rules: AccountRules,
    first: Sighting | None,
    latest_at: int | None,
) -> Event:
    """A notification about the entity, and what the core did with it.

    Args:
        record: the webhook.
        message_id: of the webhook.
        notification: as it was read.
        verdict: of the core.
        rules: of the account, in force there.
        first: where the same element of the same message was seen before, if it was.
        latest_at: the latest time of the notifications before, Unix seconds.
    """
    why = why_filtered(rules, notification) if verdict == "filtered" else None
    late_ms = record.timestamp - notification.at * 1000
    behind_s = max(0, (latest_at or notification.at) - notification.at) if verdict != "repeat" else 0
    what = f"{_VERDICTS[verdict]}: {notification.action} by {_user(notification.user_id)}"
    if changed := fields_in_words(notification.changeset):
        what += f", {changed}"
    elif notification.action == "updated":
        what += ", fields not told"
    text = [what]
    if verdict == "filtered":
        text.append(f"filtered, because {why}")
    if verdict == "repeat":
        text.append(_repeat_of(record, first))
    if behind_s:
        text.append(f"out of order: happened {shown_span(behind_s * 1000)} before one that came earlier")
    if late_ms >= LATE_MS and verdict != "repeat":
        text.append(f"late: happened {shown_span(late_ms)} before")
    if redrives := redrives_of(record):
        text.append(f"redriven ({redrives})")
    return Event(
        at_ms=record.timestamp,
        kind="webhook",
        text="; ".join(text),
        tone=_TONES[verdict],
        facts={
            **_place(record, notification.index),
            "message_id": message_id,
            "action": notification.action,
            "happened_at": notification.at,
            "user": notification.user_id,
            "changeset": [{"field": name, "old": old, "new": new} for name, old, new in notification.changeset],
            "verdict": verdict,
            "why": why,
            "late_ms": late_ms,
            "out_of_order_s": behind_s,
            "redrives": redrives,
        },
    )


def webhooks(
    record: LogRecord, message_id: str, notifications: Sequence[Notification], verdicts: Mapping[Verdict, int]
) -> Event:
    """Many notifications about the entity in one webhook, and how many of them the core did what with."""
    counted = [f"{verdicts[name]:,} {words}" for name, words in _COUNTED.items() if verdicts.get(name)]
    redrives = redrives_of(record)
    again = f"; redriven ({redrives})" if redrives else ""
    kept = any(verdicts.get(name) for name in ("opened", "joined"))
    return Event(
        at_ms=record.timestamp,
        kind="webhook",
        text=f"{many(len(notifications), 'notification')} in one webhook: {', '.join(counted)}{again}",
        tone="plain" if kept else "quiet",
        facts={
            **_place(record, None),
            "message_id": message_id,
            "verdict": "several",
            "verdicts": {name: count for name, count in verdicts.items() if count},
            "redrives": redrives,
        },
    )


def _repeat_of(record: LogRecord, first: Sighting | None) -> str:
    if first is None:
        return "a repeat: its message had come before"
    receipt = header(record, RECEIPT_HEADER)
    whose = "appended twice by ingest" if receipt and receipt == first.receipt else "sent again"
    return f"a repeat of what came {shown_span(record.timestamp - first.at_ms)} before, {whose}"


def unreadable(record: LogRecord, fault: Unreadable) -> Event:
    """An element about the entity that could not be used."""
    return _quarantined(record, fault, f"an element about it could not be read: {fault.message}")


def unreadables(record: LogRecord, faults: Sequence[Unreadable]) -> Event:
    """Many elements about the entity that could not be used, in one webhook."""
    first = faults[0]
    text = f"{many(len(faults), 'element')} about it could not be read, the first: {first.message}"
    told = _quarantined(record, first, text)
    facts = {**told.facts, "index": None, "verdict": "several", "verdicts": {"quarantined": len(faults)}}
    return replace(told, facts=facts)


def unreadable_body(record: LogRecord, fault: Unreadable) -> Event:
    """A body that could not be used, and seems to be about the entity."""
    return _quarantined(record, fault, f"a webhook that seems to be about it could not be read: {fault.message}")


def _quarantined(record: LogRecord, fault: Unreadable, text: str) -> Event:
    facts = {**_place(record, fault.index), "verdict": "quarantined", "why": fault.error, "message": fault.message}
    return Event(at_ms=record.timestamp, kind="webhook", text=f"{text} ({fault.error})", tone="bad", facts=facts)


def window_closed(change: EntityChange, at_ms: int) -> Event:
    """The end of a window: why, and which change it became."""
    lasted = shown_span(change.due_ms - change.opened_ms)
    reasons = {
        "quiet": "silent for the quiet period",
        "ceiling": "at the ceiling",
        "cut": "at a cut of the log's grid",
        "rules": "by new rules",
        "clock": "by a step of the broker's clock",
    }
    open_for = f", {lasted} after it opened" if change.closed_by in ("quiet", "ceiling", "cut") else ""
    return Event(
        at_ms=at_ms,
        kind="window",
        text=f"closes {reasons[change.closed_by]}{open_for}: {many(change.notifications, 'notification')} "
        f"become change {change.id[:SHORT_ID]}",
        facts={
            "change_id": change.id,
            "closed_by": change.closed_by,
            "opened_ms": change.opened_ms,
            "due_ms": change.due_ms,
            "notifications": change.notifications,
            "rules_version": change.rules_version,
        },
    )


def rules_taken(rules: AccountRules, entity_type: str, record: LogRecord) -> Event:
    """Rules of the account that take effect."""
    rule = _rule_in_words(rules.of(entity_type))
    return Event(
        at_ms=record.timestamp,
        kind="rules",
        text=f"{rules.version} take effect; {place_of_rule(rules, entity_type)}: {rule}",
        facts={**_place(record, None), "version": rules.version, "rule": rule},
    )


def refused_rules(letter: DeadLetter, record: LogRecord) -> Event:
    """A rules record that changed nothing."""
    text = f"a rules record was refused, and the rules before stay: {letter.message}"
    facts = {**_place(record, None), "version": None, "message": letter.message}
    return Event(at_ms=record.timestamp, kind="rules", text=text, tone="bad", facts=facts)


def fields_in_words(changeset: Sequence[tuple[str, Any, Any]]) -> str:
    """The first fields of a changeset, each with its values."""
    shown = [f"{name} {_value(old)} → {_value(new)}" for name, old, new in changeset[:MOST_FIELDS]]
    left = len(changeset) - len(shown)
    return ", ".join([*shown, f"and {many(left, 'more field')}"] if left else shown)


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _user(user: int | None) -> str:
    return "the system" if user is None else f"user {user}"


def _place(record: LogRecord, index: int | None) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset, "index": index}


def _rule_in_words(rule: EntityRule) -> str:
    """The whole rule in a line."""
    if not rule.keep:
        return "everything is filtered"
    words = [f"quiet {shown_span(rule.quiet_ms)}, ceiling {shown_span(rule.ceiling_ms)}"]
    if rule.actions is not None:
        words.append("only " + (", ".join(sorted(rule.actions)) or "empty"))
    if rule.fields is not None:
        words.append("updates only of " + (", ".join(sorted(rule.fields)) or "empty"))
    if rule.ignore_users:
        words.append("nothing by user " + ", ".join(map(str, sorted(rule.ignore_users))))
    return "; ".join(words)
