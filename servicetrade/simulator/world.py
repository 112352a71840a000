"""Pure: the entities of one customer account and how they change; every change is also an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from servicetrade.simulator.kinds import TRACKED_FIELDS

Action = Literal["created", "updated", "deleted"]
Entity = Mapping[str, Any]

# Live ids run from 1.87e15 to 2.69e15; each account gets a stretch of its own.
FIRST_ID = 1_870_000_000_000_000
IDS_PER_ACCOUNT = 1_000_000_000_000
ACCOUNT_STRETCHES = 800
ID_STEP = 7_919
# Live entities carry this host, the documented webhook another one; neither is where the API is.
ENTITY_URI = "https://app.servicetrade.com/api/{path}/{id}"
SERVER_FIELDS = frozenset({"id", "uri", "created", "updated"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """What a changeset says about one field."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change that happened, as a webhook element will tell it; `at` is in Unix seconds."""

    type: str
    id: int
    action: Action
    user_id: int | None
    at: int
    changes: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One change to make.

    Args:
        fields: what to set; references are bare ids.
        user_id: who does it, None for a system process.
        retotal: set the job's `total` from its items.
    """

    action: Action
    type: str
    id: int
    user_id: int | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    retotal: bool = False


class World:
    """All entities of one account; the current state and the tombstones."""

    def __init__(self, *, index: int) -> None:
        self._next_id = FIRST_ID + (index % ACCOUNT_STRETCHES) * IDS_PER_ACCOUNT
        self._next_number = 1000
        self._totals: dict[int, float] = {}
        self.entities: dict[str, dict[int, Entity]] = {}
        self.deleted: dict[tuple[str, int], Entity] = {}
        # What changed since the account was furnished: the entities that a complete mirror knows.
        self.touched: set[tuple[str, int]] = set()

    def new_id(self) -> int:
        """The next id of this account's stretch."""
        self._next_id += ID_STEP
        return self._next_id

    def find(self, type_: str, id_: int) -> Entity | None:
        """The current state of one entity, or None if it never existed or is deleted."""
        return self.entities.get(type_, {}).get(id_)

    def remembered(self, type_: str, id_: int) -> Entity | None:
        """The current or, for a deleted entity, the last state."""
        return self.find(type_, id_) or self.deleted.get((type_, id_))

    def all_of(self, type_: str) -> list[Entity]:
        """All living entities of a type, oldest first."""
        return list(self.entities.get(type_, {}).values())

    def furnish(self, type_: str, fields: Mapping[str, Any], now: float, *, id_: int | None = None) -> int:
        """Put an entity into the world without any event; returns its id."""
        id_ = self.new_id() if id_ is None else id_
        self._store(type_, id_, {**self._blank(type_, id_, int(now)), **fields})
        return id_

    def write(self, op: Op, now: float) -> list[Event]:
        """Perform one user action with all that follows from it.

        A job item edit makes three events: the item, its job, and the job again for the total
        (ServiceTrade's third-party integrations FAQ).
        """
        item = self.find(op.type, op.id)
        first = self.apply(op, now)
        if first is None:
            return []
        events = [first]
        if op.type == "jobitem":
            job = (item or self.find(op.type, op.id) or {}).get("job")
            if isinstance(job, int):
                events += [event for follow in job_follows(job, op.user_id) if (event := self.apply(follow, now))]
        return events

    def apply(self, op: Op, now: float) -> Event | None:
        """Make exactly one change; None if it is impossible (unknown, deleted, or already there)."""
        at = int(now)
        old = self.find(op.type, op.id)
        if (old is None) != (op.action == "created") or (op.type, op.id) in self.deleted:
            return None
        new: Entity | None = None
        if op.action == "deleted" and old is not None:
            self.deleted[(op.type, op.id)] = old
            del self.entities[op.type][op.id]
        else:
            # Seconds, never backwards: two edits within a second do share one `updated`, as upstream.
            base = dict(old) if old is not None else self._blank(op.type, op.id, at)
            base.update((key, value) for key, value in op.fields.items() if key not in SERVER_FIELDS)
            if op.retotal:
                base["total"] = round(self._totals.get(op.id, 0.0), 2)
            base["updated"] = at = max(int(base["updated"]), at)
            self._store(op.type, op.id, base)
            new = base
        if op.type == "jobitem":
            self._account_for(old, -1)
            self._account_for(new, +1)
        self.touched.add((op.type, op.id))
        changes = _tracked(op.type, old, new) if op.action == "updated" else ()
        return Event(type=op.type, id=op.id, action=op.action, user_id=op.user_id, at=at, changes=changes)

    def _store(self, type_: str, id_: int, entity: Entity) -> None:
        self.entities.setdefault(type_, {})[id_] = entity

    def _blank(self, type_: str, id_: int, at: int) -> dict[str, Any]:
        blank: dict[str, Any] = {"id": id_, "uri": ENTITY_URI.format(path=type_, id=id_)}
        if type_ in {"job", "quote", "invoice"}:
            self._next_number += 1
            blank["number"] = self._next_number
        return {**blank, "name": f"{type_} {id_}", "created": at, "updated": at}

    def _account_for(self, item: Entity | None, sign: int) -> None:
        job, price = (item or {}).get("job"), (item or {}).get("totalPrice")
        if isinstance(job, int) and isinstance(price, int | float):
            self._totals[job] = self._totals.get(job, 0.0) + sign * price


def job_follows(job: int, user_id: int | None) -> tuple[Op, Op]:
    """What one job item edit does to its job: touched once, then once more for the new total."""
    return (
        Op(action="updated", type="job", id=job, user_id=user_id),
        Op(action="updated", type="job", id=job, user_id=user_id, retotal=True),
    )


def _tracked(type_: str, old: Entity | None, new: Entity | None) -> tuple[FieldChange, ...]:
    before, after = old or {}, new or {}
    return tuple(
        FieldChange(name, before.get(name), after.get(name))
        for name in TRACKED_FIELDS.get(type_, ())
        if before.get(name) != after.get(name)
    )
