"""Pure: one entity's open window: when it is due, and the change that its notifications fold into."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

from processors.notification import Notification
from processors.rules import EntityRule
from schemas.change import Action, ClosedBy, EntityChange, FieldChange, Source
from schemas.encoding import encode_canonical

CORE_VERSION = 1
"""Raise when the same log would give other changes than before: it is part of every change's id."""

MAX_SOURCES = 32
MAX_USERS = 32
MAX_FIELDS = 256

_ORDER: dict[Action, int] = {"created": 0, "updated": 1, "deleted": 2}
"""Which of two notifications of the same second came first."""
_WEIGHT: dict[Action, int] = {"updated": 0, "created": 1, "deleted": 2}
"""Which action a window has that saw several: a deletion outweighs all, a creation outweighs updates."""
_BY_WEIGHT: tuple[Action, ...] = ("updated", "created", "deleted")

Place = tuple[int, int, int, int]
"""Order inside a window: own timestamp, action, then position in the log (offset, index)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The partition whose log is read, and the epoch that the operator gave it."""

    topic: str
    partition: int
    epoch: int


@dataclass(slots=True)
class Opening:
    """Where and when a window was opened."""

    offset: int
    index: int
    appended_ms: int
    """Append time of the record, as the broker wrote it."""
    now_ms: int
    """The partition's time, which never runs backwards."""
    rules_version: str


def next_cut(key: str, now_ms: int, memory_ms: int) -> int:
    """The first instant after `now_ms` on the key's own grid, whose period is `memory_ms`."""
    phase = zlib.crc32(key.encode()) % memory_ms
    return now_ms + memory_ms - (now_ms - phase) % memory_ms


class Window:
    """Open-window state; mutable and slotted, because the hot path makes one per burst and changes it often.

    The fold is made of commutative parts (minimum, maximum, union, count): the order of arrival inside the window
    does not matter to it. Only the two bounded lists, sources and users, are in log order.
    """

    __slots__ = (
        "_ceiling_ms",
        "_complete",
        "_cut_ms",
        "_entity_id",
        "_entity_type",
        "_fields",
        "_first_at",
        "_last_at",
        "_limit_ms",
        "_opening",
        "_quiet_ms",
        "_sources",
        "_users",
        "_weight",
        "account",
        "count",
        "due_ms",
        "key",
    )

    def __init__(
        self, key: str, account: str, first: Notification, opening: Opening, *, rule: EntityRule, memory_ms: int
    ) -> None:
        self.key = key
        self.account = account
        self.count = 0
        self._entity_type = first.entity_type
        self._entity_id = first.entity_id
        self._opening = opening
        self._quiet_ms = rule.quiet_ms
        self._ceiling_ms = opening.now_ms + rule.ceiling_ms
        self._cut_ms = next_cut(key, opening.now_ms, memory_ms)
        self._limit_ms = min(self._ceiling_ms, self._cut_ms - 1)
        self.due_ms = opening.now_ms
        self._weight = 0
        self._complete = True
        self._first_at = self._last_at = first.at
        self._sources: list[tuple[int, int, str]] = []
        self._users: list[int | None] = []
        self._fields: dict[str, tuple[Place, Any, Place, Any]] = {}

    def add(self, notification: Notification, offset: int, message_id: str, now_ms: int) -> None:
        """Fold one more notification in and move the due time."""
        self.count += 1
        due_ms = now_ms + self._quiet_ms
        self.due_ms = due_ms if due_ms < self._limit_ms else self._limit_ms  # noqa: FURB136 - a call costs thrice
        if self.count <= MAX_SOURCES:
            self._sources.append((offset, notification.index, message_id))
        if notification.user_id not in self._users and len(self._users) < MAX_USERS:
            self._users.append(notification.user_id)
        weight = _WEIGHT[notification.action]
        if weight > self._weight:  # noqa: PLR1730 - likewise
            self._weight = weight
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
        place = (notification.at, _ORDER[notification.action], offset, notification.index)
        for name, old, new in notification.changeset:
            known = self._fields.get(name)
            if known is None:
                if len(self._fields) == MAX_FIELDS:
                    self._complete = False
                    continue
                self._fields[name] = (place, old, place, new)
            elif place < known[0]:
                self._fields[name] = (place, old, known[2], known[3])
            elif place >= known[2]:
                self._fields[name] = (known[0], known[1], place, new)

    def close(self, origin: Origin, closed_by: ClosedBy | None = None) -> EntityChange:
        """The change that this window amounts to.

        Args:
            origin: the partition it was opened in.
            closed_by: what closed it before it was due, or None if it was due.
        """
        opening = self._opening
        return EntityChange(
            id=_change_id(origin, opening),
            sequence=f"{origin.epoch:04d}-{opening.offset:016d}-{opening.index:08d}",
            account=self.account,
            entity_type=self._entity_type,
            entity_id=str(self._entity_id),
            action=_BY_WEIGHT[self._weight],
            changeset=tuple(
                FieldChange(name, old, new)
                for name, (_, old, _, new) in sorted(self._fields.items())
                if not _same(old, new)
            ),
            changeset_complete=self._complete,
            users=tuple(self._users),
            first_at=self._first_at,
            last_at=self._last_at,
            opened_ms=opening.now_ms,
            due_ms=self.due_ms,
            closed_by=closed_by or self._reason(),
            notifications=self.count,
            sources=tuple([Source(*source) for source in self._sources]),
            rules_version=opening.rules_version,
        )

    def _reason(self) -> ClosedBy:
        if self.due_ms < self._limit_ms:
            return "quiet"
        return "ceiling" if self._ceiling_ms < self._cut_ms else "cut"


def _change_id(origin: Origin, opening: Opening) -> str:
    """32 hex digits made of the opening notification's position, the rules and the core: stable for every reader."""
    name = (
        f"{origin.topic}/{origin.partition}/{opening.offset}/{opening.index}/{opening.appended_ms}"
        f"/{opening.rules_version}/{CORE_VERSION}"
    )
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _same(old: Any, new: Any) -> bool:
    if type(old) is str and type(new) is str:
        return old == new
    # Compared as JSON: to Python 1, 1.0 and True are equal.
    return encode_canonical(old) == encode_canonical(new)
