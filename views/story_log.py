"""Pure: what became of an entity's notifications: the real core, fed with one partition of the raw log.

The account's records are fed as they are, those of other accounts as ticks: they only move the time. Elements that are
about the entity are fed one by one, so that the core's ledger tells what became of each. Where a webhook has many
of them, that would read its body as often: they are fed at once, and the ledger tells how many became what.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from processors.consolidator import Consolidator, Outcome
from processors.notification import Notification, Unreadable, Webhook, parse
from processors.rules import AccountRules, builtin_rules, read_rules
from processors.window import Origin
from schemas.change import EntityChange
from schemas.deadletter import PROCESSORS
from schemas.encoding import decode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord, header
from schemas.topics import (
    CONTROL_HEADER,
    CONTROL_RULES,
    CONTROL_TICK,
    ELEMENTS_HEADER,
    REDRIVE_TO_HEADER,
)
from views.story_entity import Entity
from views.story_event import Event
from views.story_sightings import Sightings
from views.story_told import (
    Verdict,
    refused_rules,
    rules_taken,
    unreadable,
    unreadable_body,
    unreadables,
    webhook,
    webhooks,
    window_closed,
)

TOGETHER = 30
"""So many notifications about the entity in one webhook are told one by one; more of them together."""

_INDICES = re.compile(rb"[0-9]{1,9}(,[0-9]{1,9})*")
_TICK = ((CONTROL_HEADER, CONTROL_TICK),)
_OURS = (None, PROCESSORS.encode())


class LogStory:
    """One partition of the raw log, from a place where the state is known.

    Args:
        entity: whose story it is.
        origin: the partition.
        times: settings of the pipeline.
        rules: in force where reading begins, per account.
        together: more notifications of one webhook than these are told together.
    """

    def __init__(
        self,
        entity: Entity,
        origin: Origin,
        times: PipelineTimes,
        rules: Mapping[str, AccountRules],
        *,
        together: int = TOGETHER,
    ) -> None:
        self.window_open = False
        self.account_seen = False
        """There was a record of the account."""
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        """Times of the first and the last record that was read, Unix milliseconds."""
        self.changes: set[str] = set()
        """Ids of the changes that the entity's windows became."""
        self.namesakes: Counter[str] = Counter()
        """Entities of the account that have the same id and another type, as far as records hold the id's digits."""
        self._entity = entity
        self._key = entity.account.encode()
        self._max_ceiling_ms = times.max_ceiling_ms
        self._core = Consolidator(origin, times, rules)
        self._rules = rules.get(entity.account) or builtin_rules(times.max_ceiling_ms)
        self._waiting: list[LogRecord] = []
        self._together = together
        self._seen = Sightings(times.horizon_ms)
        self._happened_at: int | None = None

    def feed(self, records: Iterable[LogRecord]) -> list[Event]:
        """Consume records in offset order; returns what they tell of the entity and its account's rules."""
        events: list[Event] = []
        for record in records:
            if self.first_ms is None:
                self.first_ms = record.timestamp
            self.last_ms = record.timestamp
            if record.key != self._key:
                self._waiting.append(LogRecord(offset=record.offset, timestamp=record.timestamp, headers=_TICK))
                continue
            self.account_seen = True
            if record.headers and header(record, REDRIVE_TO_HEADER) not in _OURS:
                self._waiting.append(record)
            elif record.headers and header(record, CONTROL_HEADER) is not None:
                events += self._control(record)
            elif self._entity.may_be_in(record.value):
                events += self._webhook(record)
            else:
                self._waiting.append(record)
        return events + self._closed(self._consume())

    def _consume(self, *records: LogRecord) -> Outcome:
        """Feed what has waited, and these."""
        waiting, self._waiting = [*self._waiting, *records], []
        return self._core.feed(waiting)

    def _closed(self, outcome: Outcome, at_ms: int | None = None) -> list[Event]:
        return [self._close(change, at_ms) for change in outcome.changes if change.key == self._entity.key]

    def _close(self, change: EntityChange, at_ms: int | None) -> Event:
        self.window_open = False
        self.changes.add(change.id)
        return window_closed(change, change.due_ms if at_ms is None else at_ms)

    # -- control records -------------------------------------------------------------------------------------------

    def _control(self, record: LogRecord) -> list[Event]:
        # Time moves first, and closes windows by itself; what the record closes comes after.
        events = self._closed(self._consume(replace(record, value=b"", headers=_TICK)))
        if header(record, CONTROL_HEADER) != CONTROL_RULES:
            return events
        outcome = self._core.feed([record])
        events += self._closed(outcome, record.timestamp)
        for entry in outcome.rules:
            self._rules = read_rules(entry.rules, max_ceiling_ms=self._max_ceiling_ms)
            events.append(rules_taken(self._rules, self._entity.type, record))
        events += [refused_rules(letter, record) for _, letter in outcome.dead_letters]
        return events

    # -- webhooks --------------------------------------------------------------------------------------------------

    def _webhook(self, record: LogRecord) -> list[Event]:
        named = header(record, ELEMENTS_HEADER) if record.headers else None
        if named is not None and not _INDICES.fullmatch(named):
            events = self._closed(self._consume(record))
            if self._entity.is_mentioned_in(record.value):
                fault = Unreadable(None, "bad-record", f"its header {ELEMENTS_HEADER} is no list of elements")
                events.append(unreadable_body(record, fault))
            return events
        only = None if named is None else {int(index) for index in named.split(b",")}
        body = parse(record.value or b"", appended_ms=record.timestamp, only=only)
        ours = [one for one in body.notifications if self._is_ours(one)]
        bad = list(self._faults(record, body))
        if not ours and not bad:
            self._waiting.append(record)
            return []
        events = self._closed(self._consume(_tick_at(record)))
        mine = {one.index for one in ours}
        rest = [one.index for one in body.notifications if one.index not in mine]
        if rest:
            self._core.follow([_only(record, *rest)])
        # What is unreadable leaves the core's state as it is.
        if len(ours) > self._together:
            events.append(self._notifications(record, body.message_id, ours))
        else:
            events += [self._notification(record, body.message_id, one) for one in ours]
        if len(bad) > self._together and bad[0].index is not None:
            return [*events, unreadables(record, bad)]
        for fault in bad:
            events.append(unreadable_body(record, fault) if fault.index is None else unreadable(record, fault))
        return events

    def _is_ours(self, notification: Notification) -> bool:
        if str(notification.entity_id) != self._entity.id:
            return False
        if notification.entity_type == self._entity.type:
            return True
        self.namesakes[f"{self._entity.account}/{notification.entity_type}/{self._entity.id}"] += 1
        return False

    def _faults(self, record: LogRecord, body: Webhook) -> Iterator[Unreadable]:
        """What could not be read, and is about the entity as far as one can see."""
        if not body.unreadable:
            return
        if body.unreadable[0].index is None:
            if self._entity.is_mentioned_in(record.value):
                yield body.unreadable[0]
            return
        elements = decode(record.value or b"")["data"]
        for fault in body.unreadable:
            element = elements[fault.index]
            entity = element.get("entity") if isinstance(element, dict) else None
            if isinstance(entity, dict) and self._entity.is_named(entity.get("type"), entity.get("id")):
                yield fault

    def _notification(self, record: LogRecord, message_id: str, notification: Notification) -> Event:
        ledger, windows = self._core.ledger, self._core.open_windows
        before = (ledger.duplicates, ledger.filtered)
        self._core.follow([_only(record, notification.index)])
        verdict: Verdict = "joined"
        if ledger.duplicates > before[0]:
            verdict = "repeat"
        elif ledger.filtered > before[1]:
            verdict = "filtered"
        elif self._core.open_windows > windows:
            verdict = "opened"
        if verdict in ("opened", "joined"):
            self.window_open = True
        event = webhook(
            record,
            message_id,
            notification,
            verdict,
            rules=self._rules,
            first=self._seen.of(message_id, notification.index),
            latest_at=self._happened_at,
        )
        if verdict != "repeat":
            self._happened_at = max(notification.at, self._happened_at or notification.at)
        self._seen.put(message_id, notification.index, record, self._core.now_ms or 0)
        return event

    def _notifications(self, record: LogRecord, message_id: str, ours: Sequence[Notification]) -> Event:
        ledger, windows = self._core.ledger, self._core.open_windows
        before = (ledger.duplicates, ledger.filtered)
        self._core.follow([_only(record, *(one.index for one in ours))])
        verdicts: dict[Verdict, int] = {
            "opened": self._core.open_windows - windows,
            "filtered": ledger.filtered - before[1],
            "repeat": ledger.duplicates - before[0],
        }
        verdicts["joined"] = len(ours) - sum(verdicts.values())
        if verdicts["opened"] or verdicts["joined"]:
            self.window_open = True
        if verdicts["repeat"] < len(ours):
            latest = max(one.at for one in ours)
            self._happened_at = max(latest, self._happened_at or latest)
        self._seen.put(message_id, None, record, self._core.now_ms or 0)
        return webhooks(record, message_id, ours, verdicts)


def _tick_at(record: LogRecord) -> LogRecord:
    return LogRecord(offset=record.offset, timestamp=record.timestamp, headers=_TICK)


def _only(record: LogRecord, *indices: int) -> LogRecord:
    """The record, restricted to some of its elements; the first header of a name is the one that counts."""
    named = ",".join(str(index) for index in indices)
    return replace(record, headers=((ELEMENTS_HEADER, named.encode()), *record.headers))
