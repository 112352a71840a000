"""Pure: which of a topic's records somebody wants to see."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

Entity = tuple[str, str]
"""Type and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a record is about; a record of one topic does not have what only the others' have."""

    account: str
    entities: tuple[Entity, ...]
    action: str = ""
    sink: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for; what is empty does not matter. Entity types are compared in lower case."""

    accounts: Collection[str] = ()
    types: Collection[str] = ()
    ids: Collection[Entity] = ()
    """Each with the type that it is meant of; an empty type: whatever it is."""
    actions: Collection[str] = ()
    sinks: Collection[str] = ()
    """Also their parts: `forward` is every subscriber of it."""
    outcomes: Collection[str] = ()

    def __call__(self, about: About) -> bool:
        """Whether the record is meant."""
        return (
            (not self.accounts or about.account in self.accounts)
            and (not self.actions or about.action in self.actions)
            and (not self.outcomes or about.outcome in self.outcomes)
            and (not self.sinks or any(about.sink == sink or about.sink.startswith(f"{sink}/") for sink in self.sinks))
            and (not (self.types or self.ids) or any(self._names(entity) for entity in about.entities))
        )

    def _names(self, entity: Entity) -> bool:
        kind, entity_id = entity
        plain = plain_id(entity_id)
        return (not self.types or kind.lower() in self.types) and (
            not self.ids or (kind.lower(), plain) in self.ids or ("", plain) in self.ids
        )


def read_id(text: str) -> Entity:
    """An entity as people name it: TYPE/ID, or ID alone, whatever its type."""
    kind, _, entity_id = text.rpartition("/")
    return kind.lower(), plain_id(entity_id)


def plain_id(entity_id: str) -> str:
    """An id as changes spell it: decimal digits without leading zeros; what is no number stays as it is."""
    return (entity_id.lstrip("0") or "0") if entity_id.isascii() and entity_id.isdigit() else entity_id
