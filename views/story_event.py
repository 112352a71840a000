"""Pure: what a story is made of: events in the life of one entity, and what was read to find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from views.story_entity import Entity

Kind = Literal["rules", "command", "webhook", "window", "change", "delivery", "dead letter", "resolution", "result"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which things of the same millisecond happen."""
Tone = Literal["plain", "good", "bad", "quiet"]
"""How much an event asks to be looked at: something went wrong, all went well, nothing came of it."""
SHORT_ID = 8
"""Digits of a change's id that people are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to the entity."""

    at_ms: int
    """Unix milliseconds: of a window the log's time at which it was due, else the record's timestamp."""
    kind: Kind
    text: str
    """For people; bytes from outside may be in it."""
    tone: Tone = "plain"
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs: JSON."""

    def order(self) -> tuple[int, int]:
        """To sort by: the time, and what comes first within a millisecond."""
        return self.at_ms, KINDS.index(self.kind)

    def as_json(self) -> dict[str, Any]:
        """The event for programs."""
        return {"at_ms": self.at_ms, "kind": self.kind, "text": self.text, **self.facts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What was read of the raw log; times are Unix milliseconds of its records."""

    topic: str
    partition: int
    from_ms: int | None
    """Where the story was asked to begin, else of the first record; None: the partition is empty."""
    to_ms: int | None
    """Where it was asked to end, else of the last record."""
    removed: int
    """Records that retention removed from the beginning, if the story would begin before what is left."""
    records: int
    """Read in all topics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Ids of changes, in the order of their topic."""

    missing: tuple[str, ...] = ()
    """The raw log gives them, and they are not on servicetrade.changes."""
    missing_by_ms: int | None = None
    """None: as of now. Else they had not been there by then, and what came later was not read."""
    waiting: tuple[str, ...] = ()
    """No sink has told an outcome of them."""
    untold: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By sink, if it has told of other changes of the entity before: those that others alone have told of."""
    told_by_ms: int | None = None
    """The same of `waiting` and `untold`."""
    windows_unjudged: int = 0
    """Windows that closed before what retention has left of servicetrade.changes."""
    changes_unjudged: int = 0
    """Changes without an outcome, older than what retention has left of servicetrade.deliveries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The life of an entity as the topics tell it."""

    entity: Entity
    events: tuple[Event, ...]
    """In the order of their times."""
    range: Range
    window_open: bool
    """Where reading ended, the entity had an open window."""
    account_seen: bool
    """There are records of the account in the raw log."""
    judged: Judged = Judged()
    """What should be there by now and is not."""
    open_letters: tuple[str, ...] = ()
    """Dead letters about the entity that nobody has dealt with, `PARTITION:OFFSET`."""
    near: tuple[str, ...] = ()
    """Where there is no trace: other entities that may have been meant, `account/type/id`."""
    foreign_rules: int = 0
    """Records on tradewind.rules that are no rules: they were passed over."""

    @property
    def has_trace(self) -> bool:
        """Whether anything was found about the entity itself; rules are its account's."""
        return any(event.kind != "rules" for event in self.events)


def many(number: int, noun: str) -> str:
    """A number and its noun: 1 change, 2 changes."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
