"""Pure: what was put into servicetrade.changes, and what each sink has to make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from schemas.change import EntityChange

Entity: TypeAlias = tuple[str, str, str]
"""Account, type, id."""
Place: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset of a record."""
Original: TypeAlias = tuple[bytes | None, bytes]
"""Key and value of a record."""
Fate = Literal["good", "pathless", "impossible", "refused"]
"""What is to become of a change at the mirror: a row; skipped, as the type has no path; a dead letter, because no such
id can exist; a dead letter, because ServiceTrade answers 400 or 422 for good. A subscriber gets all of them."""

DEAD_AT_MIRROR: tuple[Fate, ...] = ("impossible", "refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change that was put into the topic, however many copies of it."""

    change_id: str
    sequence: str
    entity: Entity
    action: str
    fate: Fate
    place: Place
    """Of its first copy."""

    @property
    def type(self) -> str:
        """The entity's type."""
        return self.entity[1]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Everything that was put into the topic."""

    entries: list[Entry] = field(default_factory=list)
    """In the order of their sequences."""
    garbage: dict[Place, Original] = field(default_factory=dict)
    """Records that are no changes: a dead letter at every sink."""
    originals: dict[Place, Original] = field(default_factory=dict)
    """Of the changes that are dead letters at the mirror."""

    def add(self, change: EntityChange, fate: Fate, place: Place, original: Original) -> None:
        """A change stands in the topic, its key and value too."""
        entity = (change.account, change.entity_type, change.entity_id)
        entry = Entry(
            change_id=change.id,
            sequence=change.sequence,
            entity=entity,
            action=change.action,
            fate=fate,
            place=place,
        )
        self.entries.append(entry)
        if fate in DEAD_AT_MIRROR:
            self.originals[place] = original

    def mirrored(self) -> set[Entity]:
        """The entities that must have a row."""
        return {entry.entity for entry in self.entries if entry.fate == "good"}

    def dead_letters(self, subscribers: Iterable[str]) -> dict[str, Mapping[Place, Original]]:
        """What has to stand in the dead letters, by sink; `subscribers` are the names of those that live."""
        wanted: dict[str, Mapping[Place, Original]] = {"mirror": {**self.garbage, **self.originals}}
        return wanted | {f"forward/{name}": self.garbage for name in subscribers}

    def wanted_by(self, types: Sequence[str]) -> list[Entry]:
        """The changes that a subscriber to these types gets; to none means to all."""
        return [entry for entry in self.entries if not types or entry.type in types]


def expected_rows(
    ledger: Ledger, entity_of: Callable[[Entity], Mapping[str, Any] | None]
) -> dict[Entity, Mapping[str, Any] | None]:
    """What every row has to be: the entity as ServiceTrade shows it now, or None for one that is deleted."""
    return {entity: entity_of(entity) for entity in ledger.mirrored()}
