"""Pure: what a row of the mirror remembers, and what each step does to it; the store only reads, locks and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypeVar

from schemas.change import EntityChange
from sinks.mirror_core import Snapshot, Version, wins

T = TypeVar("T")

Key: TypeAlias = tuple[str, str, str]
"""Account, entity type, entity id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a step decides by: some columns of `entities`, by their names; as it is when there was no such row."""

    ticket: int = 0
    written_ticket: int = 0
    last_sequence: str = ""
    updated_at: int | None = None
    deleted_at: int | None = None
    mirrored_at: int | None = None

    def after(self, values: Mapping[str, Any]) -> Row:
        """As it is once these columns are written."""
        return replace(self, **{name: value for name, value in values.items() if name in REMEMBERED})


REMEMBERED = tuple(field.name for field in fields(Row))

Values: TypeAlias = dict[str, Any]
"""Columns to write; empty: the row stays as it is."""

Step: TypeAlias = Callable[[Row, int], tuple[Values, T]]
"""Gets the row and the database's time (Unix seconds); gives what to write, and its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Leave to read the entity and write what is found."""

    ticket: int
    last_sequence: str
    """What the row remembered when the ticket was given out; empty for nothing."""


def key_of(change: EntityChange) -> Key:
    """Of the row that the change is about."""
    return change.account, change.entity_type, change.entity_id


def take_ticket(change: EntityChange, *, again: bool) -> Step[Reading | None]:
    """A ticket for a read, unless the change has had its effect; `again`: in any case."""

    def step(row: Row, _now_s: int) -> tuple[Values, Reading | None]:
        if not again and change.sequence <= row.last_sequence:
            return {}, None
        return {"ticket": row.ticket + 1}, Reading(ticket=row.ticket + 1, last_sequence=row.last_sequence)

    return step


def write(change: EntityChange, ticket: int, snapshot: Snapshot) -> Step[bool]:
    """Write what a read found, if the row holds none that is newer; the change has had its effect in any case."""

    def step(row: Row, now_s: int) -> tuple[Values, bool]:
        version = Version(
            updated_at=row.updated_at, written_ticket=row.written_ticket, deleted=row.deleted_at is not None
        )
        if not wins(version, snapshot, ticket):
            return _memory(row, change), False
        read = {"deleted_at": None, "written_ticket": ticket, "mirrored_at": now_s}
        return {**_columns(snapshot), **read, **_memory(row, change)}, True

    return step


def mark_deleted(change: EntityChange, *, at: int | None, again: bool) -> Step[str]:
    """Mark it, and let no read that has begun write any more; gives what the row remembered before.

    Args:
        change: a deletion, or the change for which a read found nothing.
        at: when, Unix seconds; None: found now.
        again: also if the change has had its effect.
    """

    def step(row: Row, now_s: int) -> tuple[Values, str]:
        # What a read found is news whatever the row remembers; what a change tells is not, if it came before.
        if at is not None and not again and change.sequence <= row.last_sequence:
            return {}, row.last_sequence
        deleted_at = row.deleted_at if row.deleted_at is not None else now_s if at is None else at
        marked = {"deleted_at": deleted_at, "written_ticket": row.ticket, "mirrored_at": now_s}
        return {**marked, **_memory(row, change)}, row.last_sequence

    return step


def note(change: EntityChange) -> Step[str | None]:
    """The change has had its effect, by a read that began after it had been appended.

    Gives what the row remembered before; None if it holds no read.
    """

    def step(row: Row, _now_s: int) -> tuple[Values, str | None]:
        if not row.ticket or row.mirrored_at is None:
            return {}, None
        return _memory(row, change), row.last_sequence

    return step


def take_listed(snapshot: Snapshot) -> Step[bool]:
    """Write what stands in a list, which has no ticket: only where nothing newer can be there already.

    Gives whether it is new. Of two states of one second a list's may be the older one, unless the row is from an
    earlier list too. A deletion is final in ServiceTrade, and the list may be older than it.
    """

    def step(row: Row, now_s: int) -> tuple[Values, bool]:
        unread = row.mirrored_at is None
        has, found = row.updated_at, snapshot.updated_at
        later = has is not None and found is not None and found > has
        from_list = has is not None and found == has and not row.written_ticket
        if row.deleted_at is not None or not (unread or later or from_list):
            return {}, False
        return {**_columns(snapshot), "mirrored_at": now_s}, unread or later

    return step


def _columns(snapshot: Snapshot) -> Values:
    return {field.name: getattr(snapshot, field.name) for field in fields(snapshot)}


def _memory(row: Row, change: EntityChange) -> Values:
    """The row and its memory change as one."""
    if change.sequence <= row.last_sequence:
        return {}
    return {"last_sequence": change.sequence, "last_change_id": change.id}
