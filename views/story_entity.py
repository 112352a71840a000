"""Pure: the one entity that is asked about, and how to know it again in what was written about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from processors.notification import ENTITY_TYPE, MAX_ID

_DIGITS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """An entity of an account; the type is in lower case, the id in decimal digits without leading zeros."""

    account: str
    type: str
    id: str

    @property
    def subject(self) -> str:
        """`type/id`: the entity inside its account."""
        return f"{self.type}/{self.id}"

    @property
    def key(self) -> str:
        """`account/type/id`: the record key on servicetrade.changes and servicetrade.deliveries."""
        return f"{self.account}/{self.subject}"

    def is_named(self, entity_type: Any, entity_id: Any) -> bool:
        """Whether somebody meant this entity, whatever the case of the type and the zeros before the id."""
        return _same_text(entity_type, self.type) and canonical_id(entity_id) == self.id

    def may_be_in(self, value: bytes | None) -> bool:
        """False if JSON of these bytes cannot name the entity: its id's digits are not there, nor any escape."""
        return value is not None and (self.id.encode() in value or b"\\u" in value)

    def is_mentioned_in(self, value: bytes | None) -> bool:
        """Whether bytes that are no JSON have the id as a number of its own, and the type somewhere."""
        if value is None or self.type.encode() not in value.lower():
            return False
        return re.search(rb"(?<![0-9])0*" + self.id.encode() + rb"(?![0-9])", value) is not None


def canonical_id(value: Any) -> str | None:
    """The id as changes spell it, of an integer or a string of 1 to 19 digits; None if it is no id."""
    if type(value) is str and _DIGITS.fullmatch(value):
        value = int(value)
    return str(value) if type(value) is int and 0 <= value <= MAX_ID else None


def read_entity(text: str, account: str) -> Entity:
    """The entity that a person wrote as `type/id`.

    Raises:
        ValueError: it is not written so.
    """
    entity_type, _, spelled = text.strip().partition("/")
    entity_id = canonical_id(spelled)
    if not ENTITY_TYPE.fullmatch(entity_type.lower()) or entity_id is None:
        raise ValueError(f"an entity is written type/id, as in job/123; found {text!r}")
    return Entity(account=account, type=entity_type.lower(), id=entity_id)


def _same_text(value: Any, lowered: str) -> bool:
    return type(value) is str and value.lower() == lowered
