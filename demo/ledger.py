"""Pure: accounts for every notification answered with 2xx, from what the sender, the topics and the store hold.

It counts by itself, without the processors' state machine: each notification in the raw log must be a repeat,
filtered, quarantined, or one of those that a change says it merged; and each change must have an outcome at the sink.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from processors.notification import Notification, name_elements, parse
from processors.rules import AccountRules, builtin_rules, read_rules
from schemas.change import EntityChange, decode_change
from schemas.deadletter import PROCESSORS, is_resolution, read_dead_letter
from schemas.encoding import decode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord, header
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, ELEMENTS_HEADER, REDRIVE_TO_HEADER


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known from outside the processes."""

    journals: Mapping[str, Sequence[Mapping[str, Any]]]
    """Per account, the sender's journal: sha256, elements, deliveries_2xx, refused of each message."""
    webhooks: Sequence[LogRecord]
    """servicetrade.webhooks, each partition in offset order."""
    changes: Sequence[LogRecord]
    deadletters: Sequence[LogRecord]
    deliveries: Sequence[LogRecord]
    rows: Mapping[str, Mapping[str, Any]]
    """The mirror's rows by account/type/id."""
    entities: Mapping[str, Mapping[str, Any]]
    """ServiceTrade's present entities by account/type/id."""
    touched: frozenset[str]
    """account/type/id of everything that changed and can be read, deleted or not."""
    sinks: tuple[str, ...]
    """At each of these every change has to have an outcome."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The account; `lost` is 0 when everything is accounted for."""

    sent: int = 0
    accepted: int = 0
    refused_for_good: int = 0
    notifications: int = 0
    duplicates: int = 0
    filtered: int = 0
    quarantined: int = 0
    merged: int = 0
    changes: int = 0
    repeats: int = 0
    """Changes that stand in the topic more than once, with the same id: after a crash, or redriven."""
    rows: int = 0
    lost_before_log: int = 0
    """Notifications of webhooks that were answered 2xx but are not in the log."""
    lost_in_processing: int = 0
    """Notifications in the log that nothing accounts for."""
    lost_at_sink: int = 0
    """Notifications in changes that have no outcome at one of the sinks."""
    wrong_rows: list[str] = field(default_factory=list)
    """Entities whose row is missing or not what ServiceTrade has now."""
    surplus: int = 0
    """Notifications that changes claim beyond those in the log: something was counted twice."""
    busiest: EntityChange | None = None
    """A change of the entity that had the most notifications."""

    @property
    def lost(self) -> int:
        """Notifications answered with 2xx and not accounted for."""
        return self.lost_before_log + self.lost_in_processing + self.lost_at_sink

    @property
    def balanced(self) -> bool:
        """Nothing lost, nothing counted twice, every row right."""
        return not (self.lost or self.surplus or self.wrong_rows)


def account_for(evidence: Evidence, times: PipelineTimes) -> Ledger:
    """Draw up the ledger."""
    ledger = Ledger()
    _check_arrival(evidence, ledger)
    log = _LogCount(evidence, times, ledger)
    expected = log.expected
    changes = _unique_changes(evidence, ledger)
    claimed: Counter[str] = Counter()
    for change in changes.values():
        claimed[change.key] += change.notifications
    ledger.merged = claimed.total()
    ledger.busiest = max(changes.values(), key=lambda change: claimed[change.key], default=None)
    for key in expected.keys() | claimed.keys():
        difference = expected[key] - claimed[key]
        ledger.lost_in_processing += max(0, difference)
        ledger.surplus += max(0, -difference)
    told = [decode(record.value or b"") for record in evidence.deliveries]
    outcomes = {(outcome["sink"], outcome["change_id"]) for outcome in told}
    ledger.lost_at_sink = sum(
        change.notifications
        for change_id, change in changes.items()
        if any((sink, change_id) not in outcomes for sink in evidence.sinks)
    )
    ledger.rows = len(evidence.rows)
    ledger.wrong_rows = _wrong_rows(evidence, {change.key for change in changes.values()} - log.unheard)
    return ledger


def _check_arrival(evidence: Evidence, ledger: Ledger) -> None:
    """What was answered 2xx must be in the log, byte for byte, as often as it was answered so."""
    stored = Counter(
        ((record.key or b"").decode(), hashlib.sha256(record.value or b"").hexdigest())
        for record in evidence.webhooks
        if header(record, CONTROL_HEADER) is None and header(record, REDRIVE_TO_HEADER) is None
    )
    for account, journal in evidence.journals.items():
        for entry in journal:
            missing = entry["deliveries_2xx"] - stored[account, entry["sha256"]]
            ledger.lost_before_log += max(0, missing) * max(1, entry["elements"])
            ledger.sent += entry["sendings"]
            ledger.accepted += entry["deliveries_2xx"]
            ledger.refused_for_good += entry["refused"]


class _LogCount:
    """One pass over the raw log."""

    def __init__(self, evidence: Evidence, times: PipelineTimes, ledger: Ledger) -> None:
        self.expected: Counter[str] = Counter()
        """Per entity, how many notifications have to be found in changes."""
        self.unheard: set[str] = set()
        """Entities whose last notification was filtered: their rows need not be what ServiceTrade has now."""
        self._times = times
        self._ledger = ledger
        self._builtin = builtin_rules(times.max_ceiling_ms)
        self._seen: dict[tuple[str, str, int], int] = {}
        self._rules: dict[str, AccountRules] = {}
        self._elements = {
            (account, entry["sha256"]): entry["elements"] or int(entry["poison_body"])
            for account, journal in evidence.journals.items()
            for entry in journal
        }
        found = (read_dead_letter(record.headers) for record in evidence.deadletters if not is_resolution(record))
        letters = (letter for letter in found if letter.stage == PROCESSORS)
        self._buried = {(letter.partition, letter.offset): letter.elements for letter in letters}
        for record in evidence.webhooks:
            if header(record, REDRIVE_TO_HEADER) not in (None, PROCESSORS.encode()):
                continue
            account = (record.key or b"").decode()
            control = header(record, CONTROL_HEADER)
            if control is None:
                self._webhook(account, record)
            elif control == CONTROL_RULES:
                resolved = decode(record.value or b"")
                self._rules[account] = read_rules(resolved, max_ceiling_ms=times.max_ceiling_ms)

    def _webhook(self, account: str, record: LogRecord) -> None:
        named = header(record, ELEMENTS_HEADER)
        only = None if named is None else {int(index) for index in named.split(b",")}
        webhook = parse(record.value or b"", appended_ms=record.timestamp, only=only)
        found = len(webhook.notifications) + len(webhook.unreadable)
        self._ledger.notifications += found
        # The sender's own count: a reader that overlooks elements is found out. A body that is not JSON counts as one.
        sent = self._elements.get((account, hashlib.sha256(record.value or b"").hexdigest()), found)
        if only is not None:
            sent = len(only)
        self._ledger.lost_in_processing += max(0, sent - found)
        if webhook.unreadable:
            if self._buried.get((record.partition, record.offset)) == name_elements(webhook.unreadable):
                self._ledger.quarantined += len(webhook.unreadable)
            else:
                self._ledger.lost_in_processing += len(webhook.unreadable)
        for notification in webhook.notifications:
            self._notification(account, webhook.message_id, notification, record.timestamp)

    def _notification(self, account: str, message_id: str, notification: Notification, at_ms: int) -> None:
        place = (account, message_id, notification.index)
        last_ms = self._seen.get(place)
        self._seen[place] = at_ms
        key = f"{account}/{notification.entity_type}/{notification.entity_id}"
        if last_ms is not None and at_ms - last_ms <= self._times.horizon_ms:
            self._ledger.duplicates += 1
        elif not self._rules.get(account, self._builtin).of(notification.entity_type).keeps(notification):
            self._ledger.filtered += 1
            self.unheard.add(key)
        else:
            self.expected[key] += 1
            self.unheard.discard(key)


def _unique_changes(evidence: Evidence, ledger: Ledger) -> dict[str, EntityChange]:
    changes = [decode_change(record.value or b"") for record in evidence.changes]
    unique = {change.id: change for change in changes}
    ledger.changes, ledger.repeats = len(unique), len(changes) - len(unique)
    return unique


def _wrong_rows(evidence: Evidence, keys: set[str]) -> list[str]:
    """Entities that a change was about but that do not stand in the store as ServiceTrade has them now."""
    wrong = []
    for key in sorted(keys & evidence.touched):
        row, entity = evidence.rows.get(key), evidence.entities.get(key)
        gone = entity is None
        if row is None or row["deleted"] != gone or (entity is not None and _plain(row["data"]) != _plain(entity)):
            wrong.append(key)
    return wrong


def _plain(entity: Mapping[str, Any]) -> dict[str, Any]:
    # An embedded stub shows another entity's name; a change of that one is no news of this one.
    return {name: value for name, value in entity.items() if not isinstance(value, dict | list)}
