"""Pure: one entity's open window: when it is due, and the change that its notifications fold into."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from processors.notification import Notification
from processors.rules import EntityRule
from schemas.change import Action, ClosedBy, EntityChange, FieldChange, Source
from schemas.encoding import encode_canonical
from schemas.record import Record

CORE_VERSION = 1
"""Raise when the same log would give other changes than before: it is part of every change's id."""

MAX_SOURCES = 32
MAX_USERS = 32
MAX_FIELDS = 256
_STRIDE = 5
"""Items of a window's list of fields that belong to one field."""
_NAME = attrgetter("name")

_ORDER: dict[Action, int] = {"created": 0, "updated": 1, "deleted": 2}
"""Which of two notifications of the same second came first."""
_WEIGHT: dict[Action, int] = {"updated": 0, "created": 1, "deleted": 2}
"""Which action a window has that saw several: a deletion outweighs all, a creation outweighs updates."""
_BY_WEIGHT: tuple[Action, ...] = ("updated", "created", "deleted")


@dataclass(frozen=True, slots=True)
class Origin:
    """The partition whose log is read, and the epoch that the operator gave it."""

    topic: str
    partition: int
    epoch: int


def next_cut(key: str, now_ms: int, memory_ms: int) -> int:
    """The first instant after `now_ms` on the key's own grid, whose period is `memory_ms`."""
    phase = zlib.crc32(key.encode()) % memory_ms
    return now_ms + memory_ms - (now_ms - phase) % memory_ms


class Window:
    """Open-window state; mutable, slotted and flat: the hot path makes one per burst, and many may be open at once.

    The fold is made of commutative parts (minimum, maximum, union, count): the order of arrival inside the window
    does not matter to it. Only the two bounded lists, sources and users, are in log order.

    Args:
        key: account/type/id.
        first: the notification that opens it.
        record: where that stands.
        message_id: of its webhook.
        now_ms: the partition's time, which never runs backwards.
        rule: for the entity's type.
        rules_version: of the account's rules.
        memory_ms: period of the cuts.
    """

    __slots__ = (
        "_appended_ms",
        "_complete",
        "_fields",
        "_first_at",
        "_index",
        "_last_at",
        "_limit_ms",
        "_message_id",
        "_more_sources",
        "_offset",
        "_opened_ms",
        "_rule",
        "_rules_version",
        "_users",
        "_weight",
        "count",
        "due_ms",
        "key",
    )

    def __init__(
        self,
        key: str,
        first: Notification,
        record: Record,
        message_id: str,
        *,
        now_ms: int,
        rule: EntityRule,
        rules_version: str,
        memory_ms: int,
    ) -> None:
        self.key = key
        self._offset = record.offset
        self._index = first.index
        self._appended_ms = record.timestamp
        self._message_id = message_id
        self._opened_ms = now_ms
        self._rule = rule
        self._rules_version = rules_version
        self._limit_ms = min(now_ms + rule.ceiling_ms, next_cut(key, now_ms, memory_ms) - 1)
        self.due_ms = min(now_ms + rule.quiet_ms, self._limit_ms)
        self.count = 1
        self._more_sources: tuple[Any, ...] = ()  # offset, index, message id, and so on
        self._users = _only(first.user_id)
        self._weight = _WEIGHT[first.action]
        self._complete = first.changeset_complete
        self._first_at = self._last_at = first.at
        self._fields: list[Any] = []  # name, place and value of the first old one, of the last new one, and so on
        if first.changeset:
            self._fold_fields(first, record.offset)

    @property
    def opening(self) -> tuple[int, int, int]:
        """Offset and index of the notification that opened it, and the partition's time then."""
        return self._offset, self._index, self._opened_ms

    def add(self, notification: Notification, offset: int, message_id: str, now_ms: int) -> None:
        """Fold one more notification in and move the due time."""
        self.count = count = self.count + 1
        due_ms = now_ms + self._rule.quiet_ms
        self.due_ms = due_ms if due_ms < self._limit_ms else self._limit_ms  # noqa: FURB136 - a call costs thrice
        if count <= MAX_SOURCES:
            self._more_sources += (offset, notification.index, message_id)
        if notification.user_id not in self._users and len(self._users) < MAX_USERS:
            self._users += (notification.user_id,)
        action = notification.action
        if action != "updated" and _WEIGHT[action] > self._weight:
            self._weight = _WEIGHT[action]
        at = notification.at
        if at < self._first_at:
            self._first_at = at
        elif at > self._last_at:
            self._last_at = at
        if not notification.changeset_complete:
            self._complete = False
        if notification.changeset:
            self._fold_fields(notification, offset)

    def _fold_fields(self, notification: Notification, offset: int) -> None:
        # The order inside a window: own timestamp, action, then position in the log.
        place = (notification.at, _ORDER[notification.action], offset, notification.index)
        fields = self._fields
        for name, old, new in notification.changeset:
            # Most windows are about one field.
            at = 0 if fields and fields[0] == name else _place_of(name, fields)
            if at == len(fields):
                if at < MAX_FIELDS * _STRIDE:
                    fields += (name, place, old, place, new)
                else:
                    self._complete = False
            elif place >= fields[at + 3]:  # as nearly always
                fields[at + 3] = place
                fields[at + 4] = new
            elif place < fields[at + 1]:
                fields[at + 1] = place
                fields[at + 2] = old

    def close(self, origin: Origin, closed_by: ClosedBy | None = None) -> EntityChange:
        """The change that this window amounts to.

        Args:
            origin: the partition it was opened in.
            closed_by: what closed it before it was due, or None if it was due.
        """
        account, entity_type, entity_id = self.key.split("/")
        # In the order of its fields: with their names the call takes thrice as long.
        return EntityChange(
            self._change_id(origin),
            f"{origin.epoch:04d}-{self._offset:016d}-{self._index:08d}",
            account,
            entity_type,
            entity_id,
            _BY_WEIGHT[self._weight],
            self._net_fields(),
            self._complete,
            self._users,
            self._first_at,
            self._last_at,
            self._opened_ms,
            self.due_ms,
            closed_by or self._reason(),
            self.count,
            self._sources(),
            self._rules_version,
        )

    def _sources(self) -> tuple[Source, ...]:
        found = [Source(self._offset, self._index, self._message_id)]
        more = self._more_sources
        # Not `map`: a class is called faster from here than from there.
        found += [Source(more[at], more[at + 1], more[at + 2]) for at in range(0, len(more), 3)]
        return tuple(found)

    def _net_fields(self) -> tuple[FieldChange, ...]:
        fields = self._fields
        net = [
            FieldChange(fields[at], fields[at + 2], fields[at + 4])
            for at in range(0, len(fields), _STRIDE)
            if not _same(fields[at + 2], fields[at + 4])
        ]
        net.sort(key=_NAME)
        return tuple(net)

    def _reason(self) -> ClosedBy:
        if self.due_ms < self._limit_ms:
            return "quiet"
        return "ceiling" if self._limit_ms == self._opened_ms + self._rule.ceiling_ms else "cut"

    def _change_id(self, origin: Origin) -> str:
        """32 hex digits of the opening notification's position, the rules and the core: the same for every reader."""
        name = (
            f"{origin.topic}/{origin.partition}/{self._offset}/{self._index}/{self._appended_ms}"
            f"/{self._rules_version}/{CORE_VERSION}"
        )
        return hashlib.sha256(name.encode()).hexdigest()[:32]


@lru_cache(maxsize=1_000)
def _only(user_id: int | None) -> tuple[int | None, ...]:
    """One tuple for all windows in which one user acted, as in most."""
    return (user_id,)


def _place_of(name: str, fields: list[Any]) -> int:
    """Where a window's list of fields tells of this one; its end if it does not."""
    names = fields[::_STRIDE]
    return names.index(name) * _STRIDE if name in names else len(fields)


def _same(old: Any, new: Any) -> bool:
    if type(old) is str and type(new) is str:
        return old == new
    # Compared as JSON: to Python 1, 1.0 and True are equal.
    return encode_canonical(old) == encode_canonical(new)
