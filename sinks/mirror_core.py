"""Pure: what the mirror makes of an entity's answer, and which of two reads is the newer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.change import EntityChange
from schemas.encoding import encode
from sinks.outcome import ALREADY_DELIVERED, Outcome, Skipped

SUPERSEDED = Skipped("superseded")
"""A read that began after this change had been appended serves a later change of the entity, and this one too."""

LONGEST_STATUS = 200
"""Characters of the column; ServiceTrade's have less than 20, and an index of PostgreSQL's does not hold any text."""

_ESCAPED_NUL = b"\\u0000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one GET found, as the columns of the mirror."""

    data: str
    """The entity as ServiceTrade answered it, JSON; without U+0000, which PostgreSQL's JSONB does not hold."""
    name: str | None
    status: str | None
    created_at: int | None
    """Unix seconds, ServiceTrade's."""
    updated_at: int | None
    """Unix seconds, ServiceTrade's; so two updates within a second share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """How new the row is."""

    updated_at: int | None
    written_ticket: int
    """The ticket of the read that was written last; tickets grow in the order in which reads begin."""
    deleted: bool


def snapshot_of(entity: Mapping[str, Any]) -> Snapshot:
    """Pick the columns; what ServiceTrade leaves out, or sends in another shape, is None."""
    data = encode(dict(entity))
    if _ESCAPED_NUL in data:
        # It may also be a backslash and five characters, so the text alone does not tell what to take out.
        data = encode(_without_nul(entity))
    return Snapshot(
        data=data.decode(),
        name=_text(entity.get("name")),
        status=_text(entity.get("status"), LONGEST_STATUS),
        created_at=_seconds(entity.get("created")),
        updated_at=_seconds(entity.get("updated")),
    )


def wins(row: Version, snapshot: Snapshot, ticket: int) -> bool:
    """Whether a read with this ticket is newer than what the row holds.

    A deletion is final in ServiceTrade: only a read that began after it was noted can say otherwise.
    """
    if row.deleted or row.updated_at is None or snapshot.updated_at is None:
        return ticket > row.written_ticket
    return (snapshot.updated_at, ticket) > (row.updated_at, row.written_ticket)


def newest_of(changes: Sequence[EntityChange]) -> EntityChange:
    """The one with the highest sequence; a replay may put older ones behind it."""
    return max(changes, key=lambda change: change.sequence)


def outcomes_of(changes: Sequence[EntityChange], last_sequence: str, newest: Outcome) -> list[Outcome]:
    """The outcome of each change, once the newest of them has the outcome `newest`.

    Args:
        changes: of one entity, in the order of the log.
        last_sequence: what the sink remembered before; no change at or below it has an effect.
        newest: what became of the change with the highest sequence.
    """
    found: list[Outcome] = []
    seen, highest = last_sequence, newest_of(changes).sequence
    for change in changes:
        if change.sequence <= seen:
            found.append(ALREADY_DELIVERED)
            continue
        seen = change.sequence
        found.append(newest if change.sequence == highest else SUPERSEDED)
    return found


def _text(value: Any, most: int | None = None) -> str | None:
    # PostgreSQL's text holds any character but this one.
    return value.replace("\0", "")[:most] if isinstance(value, str) else None


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "")
        case Mapping():
            return {_without_nul(name): _without_nul(inner) for name, inner in value.items()}
        case list():
            return [_without_nul(inner) for inner in value]
        case _:
            return value


def _seconds(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:19])
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
