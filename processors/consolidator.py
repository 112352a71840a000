"""Pure: the deterministic state machine that turns one partition's log, in offset order, into changes.

Its state is a function of the log from the first record whose timestamp is at least A - (memory + max_ceiling +
horizon), where A is the timestamp of the last record consumed. So there is nothing to save: read that stretch again.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from processors.duplicates import ALONE, RememberedMessages
from processors.notification import Read, Unreadable, name_elements, read
from processors.rules import AccountRules, builtin_rules, read_rules
from processors.window import Origin, Window
from schemas.change import ClosedBy, EntityChange
from schemas.deadletter import PROCESSORS, DeadLetter, redrives_of
from schemas.encoding import decode
from schemas.pipeline import PipelineTimes
from schemas.record import Record, header
from schemas.rules import RulesInForce
from schemas.topics import (
    ACCOUNT_NAME,
    CONTROL_HEADER,
    CONTROL_RULES,
    CONTROL_TICK,
    ELEMENTS_HEADER,
    REDRIVE_TO_HEADER,
)

_INDICES = re.compile(rb"[0-9]{1,9}(,[0-9]{1,9})*")
_OURS = (None, PROCESSORS.encode())
"""Whom a record is redriven to if the processors are to read it."""


@dataclass(slots=True)
class Ledger:
    """What went in and where it is: notifications = merged + duplicates + filtered + quarantined + still open."""

    webhooks: int = 0
    notifications: int = 0
    merged: int = 0
    duplicates: int = 0
    filtered: int = 0
    quarantined: int = 0

    def imbalance(self, still_open: int) -> int:
        """Notifications that are nowhere; anything but 0 is a fault of the core."""
        known = self.merged + self.duplicates + self.filtered + self.quarantined + still_open
        return self.notifications - known


@dataclass(slots=True)
class Outcome:
    """What a stretch of the log amounts to, in order."""

    changes: list[EntityChange] = field(default_factory=list)
    dead_letters: list[tuple[Record, DeadLetter]] = field(default_factory=list)
    rules: list[RulesInForce] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything came out."""
        return bool(self.changes or self.dead_letters or self.rules)


@dataclass(frozen=True, slots=True)
class Opening:
    """Where and when an open window was opened."""

    offset: int
    index: int
    opened_ms: int
    key: str


class Consolidator:
    """One partition's state: its time, its open windows, what it remembers, and the rules in force.

    Args:
        origin: the partition.
        times: horizon, memory and largest ceiling.
        rules: per account, the rules in force where reading begins.
        otherwise: of accounts not named; None: the built-in ones.
    """

    def __init__(
        self,
        origin: Origin,
        times: PipelineTimes,
        rules: Mapping[str, AccountRules] | None = None,
        otherwise: AccountRules | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.now_ms: int | None = None
        self._origin = origin
        self._silent = False
        self._memory_ms = times.memory_ms
        self._max_ceiling_ms = times.max_ceiling_ms
        self._rules = dict(rules or {})
        self._otherwise = otherwise or builtin_rules(times.max_ceiling_ms)
        self._remembered = RememberedMessages(times.horizon_ms)
        self._windows: dict[str, Window] = {}
        # One entry per open window; its due time may be out of date, but is never later than the true one.
        self._agenda: list[tuple[int, str]] = []

    @property
    def open_windows(self) -> int:
        """How many windows are open."""
        return len(self._windows)

    @property
    def open_notifications(self) -> int:
        """How many notifications the open windows hold."""
        return sum(window.count for window in self._windows.values())

    def openings(self) -> Iterator[Opening]:
        """The open windows, in the order in which they were opened."""
        # A window stands in the dict from its opening to its end.
        return (_opening(window) for window in self._windows.values())

    def opening_of(self, key: str) -> Opening | None:
        """The open window of an entity, `account/type/id`, or None."""
        window = self._windows.get(key)
        return None if window is None else _opening(window)

    @property
    def remembered_messages(self) -> int:
        """How many messages are held against repeats."""
        return len(self._remembered)

    def next_due_ms(self) -> int | None:
        """When the next window is due, by the log's time, or None if none is open."""
        while self._agenda:
            due_ms, key = self._agenda[0]
            window = self._windows.get(key)
            if window is not None and window.due_ms == due_ms:
                return due_ms
            self._put_right(window)
        return None

    def feed(self, records: Iterable[Record]) -> Outcome:
        """Consume records in offset order.

        Returns:
            The windows closed, the records quarantined and the rules that took effect by them.
        """
        outcome = Outcome()
        for record in records:
            timestamp = record.timestamp
            if timestamp != self.now_ms:
                self._move_time(timestamp, outcome)
            if not record.headers:
                self._webhook(record, outcome)
                continue
            if header(record, REDRIVE_TO_HEADER) not in _OURS:
                continue
            control = header(record, CONTROL_HEADER)
            if control is None:
                self._webhook(record, outcome)
            elif control == CONTROL_RULES:
                self._apply_rules(record, outcome)
            elif control != CONTROL_TICK:
                self._quarantine(record, [Unreadable(None, "unknown-control", repr(control))], outcome)
        return outcome

    def follow(self, records: Iterable[Record]) -> None:
        """Consume records in offset order whose outcome is in the topics already; only the state counts."""
        self._silent = True
        self.feed(records)
        self._silent = False

    # -- time ------------------------------------------------------------------------------------------------------

    def _move_time(self, timestamp: int, outcome: Outcome) -> None:
        now_ms = self.now_ms
        if now_ms is None or timestamp > now_ms:
            self.now_ms = timestamp
            agenda = self._agenda
            while agenda and agenda[0][0] < timestamp:
                due_ms, key = agenda[0]
                window = self._windows.get(key)
                if window is not None and window.due_ms == due_ms:
                    heapq.heappop(agenda)
                    self._close(window, None, outcome)
                else:
                    self._put_right(window)
        elif timestamp < now_ms - self._max_ceiling_ms:
            # The broker's clock was set back: what was open or remembered cannot be compared with what comes.
            self._close_all(list(self._windows.values()), "clock", outcome)
            self._remembered.forget()
            self._agenda.clear()
            self.now_ms = timestamp

    def _put_right(self, window: Window | None) -> None:
        """Bring the first entry of the agenda up to date."""
        if window is None:
            # It was closed out of turn, and has left its entry behind.
            heapq.heappop(self._agenda)
        else:
            # It grew: its due time is later by now.
            heapq.heapreplace(self._agenda, (window.due_ms, window.key))

    def _close_all(self, windows: list[Window], closed_by: ClosedBy, outcome: Outcome) -> None:
        for window in sorted(windows, key=lambda window: (window.due_ms, window.key)):
            self._close(window, closed_by, outcome)

    def _close(self, window: Window, closed_by: ClosedBy | None, outcome: Outcome) -> None:
        del self._windows[window.key]
        self.ledger.merged += window.count
        if not self._silent:
            outcome.changes.append(window.close(self._origin, closed_by))

    # -- webhooks --------------------------------------------------------------------------------------------------

    def _webhook(self, record: Record, outcome: Outcome) -> None:
        ledger = self.ledger
        ledger.webhooks += 1
        account, (message_id, notifications, unreadable) = _read(record)
        ledger.notifications += len(notifications)
        if unreadable:
            ledger.notifications += len(unreadable)
            ledger.quarantined += len(unreadable)
            self._quarantine(record, unreadable, outcome)
        if not notifications:
            return
        assert self.now_ms is not None, "time moves before a record is looked at"  # noqa: S101
        now_ms, offset = self.now_ms, record.offset
        alone = len(notifications) == 1 and notifications[0].index == 0
        indices = ALONE if alone else [notification.index for notification in notifications]
        repeated = self._remembered.see(account, message_id, indices, now_ms)
        rules = self._rules.get(account, self._otherwise)
        for notification in notifications:
            entity_type = notification.entity_type
            rule = rules.of(entity_type)
            if repeated and notification.index in repeated:
                ledger.duplicates += 1
            elif not rule.keeps(notification):
                ledger.filtered += 1
            else:
                key = f"{account}/{entity_type}/{notification.entity_id}"
                window = self._windows.get(key)
                # Due windows were closed when time moved, so a window that is still here is one to join.
                if window is not None:
                    window.add(notification, offset, message_id, now_ms)
                    continue
                window = self._windows[key] = Window(
                    key,
                    notification,
                    record,
                    message_id,
                    now_ms=now_ms,
                    rule=rule,
                    rules_version=rules.version,
                    memory_ms=self._memory_ms,
                )
                heapq.heappush(self._agenda, (window.due_ms, key))

    def _quarantine(self, record: Record, faults: list[Unreadable], outcome: Outcome) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more elements)" if len(faults) > 1 else ""
        letter = DeadLetter(
            topic=self._origin.topic,
            partition=self._origin.partition,
            offset=record.offset,
            stage=PROCESSORS,
            error=first.error,
            message=first.message + more,
            attempts=1,
            # The log's time, not a clock's: whoever reads the log again writes the same bytes.
            first_failure_ms=record.timestamp,
            last_failure_ms=record.timestamp,
            elements=name_elements(faults),
            redrives=redrives_of(record),
        )
        outcome.dead_letters.append((record, letter))

    # -- rules -----------------------------------------------------------------------------------------------------

    def _apply_rules(self, record: Record, outcome: Outcome) -> None:
        try:
            account = _account(record.key)
            resolved = decode(record.value or b"")
            rules = read_rules(resolved, max_ceiling_ms=self._max_ceiling_ms)
        except ValueError as error:
            # The old version stays in force; the record is kept where people look for what went wrong.
            self._quarantine(record, [Unreadable(None, "bad-rules", str(error))], outcome)
            return
        mine = [window for window in self._windows.values() if window.key.startswith(f"{account}/")]
        self._close_all(mine, "rules", outcome)
        self._rules[account] = rules
        outcome.rules.append(
            RulesInForce(
                account=account,
                version=rules.version,
                topic=self._origin.topic,
                partition=self._origin.partition,
                offset=record.offset,
                rules=resolved,
            )
        )


def _opening(window: Window) -> Opening:
    return Opening(*window.opening, window.key)


@lru_cache(maxsize=1_000)
def _account(key: bytes | None) -> str:
    account = (key or b"").decode()
    if not ACCOUNT_NAME.fullmatch(account):
        raise ValueError(f"the key {account[:80]!r} is no account name")
    return account


def _indices(named: bytes) -> set[int]:
    if not _INDICES.fullmatch(named):
        raise ValueError(f"{ELEMENTS_HEADER} is {named[:80]!r}")
    return {int(index) for index in named.split(b",")}


def _read(record: Record) -> tuple[str, Read]:
    """The account and what can be read of the body; a record without a proper key is unreadable as a whole."""
    try:
        account = _account(record.key)
        named = header(record, ELEMENTS_HEADER) if record.headers else None
        only = None if named is None else _indices(named)
    except ValueError as error:
        return "", ("", [], [Unreadable(None, "bad-record", str(error))])
    return account, read(record.value or b"", record.timestamp, only)
