"""The world of the model as values: ServiceTrade, the store's row, the workers, and what the adversary may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from servicetrade.stored_session import StoredSession
from tests.servicetrade.model.handed import Operation, Reply

ANOTHER = "another"
"""Any worker but the one that looks. The real code has no use for the name of a lease's owner but its own."""

RESOURCE, FORBIDDEN = "GET /job", "GET /forbidden"
"""What workers read; the second answers 401 to every session."""


class Event(Enum):
    """What the adversary can do, at any moment."""

    SESSION_KILLED = "session killed"
    LEASE_RAN_OUT = "lease ran out"
    WORKER_KILLED = "worker killed"
    WORKER_CANCELLED = "worker cancelled"
    LOGIN_UNANSWERED = "session made, but no answer"
    PROOF_UNANSWERED = "no answer to GET /auth"
    LOGOUT_FAILED = "log-out failed"
    STORE_FAILED = "store failed"
    WORKER_SLOW = "worker slow"


_INDEX = {event: index for index, event in enumerate(Event)}


class Worker(NamedTuple):
    """One worker: where its code stands, and what is known of it besides."""

    local: int
    """A local state of the automaton."""
    answer: Reply | None = None
    """What ServiceTrade has answered it, while that is on its way."""
    killed: bool = False
    leases: bool = False
    """The row's lease is in its name."""
    let_go: bool = False
    """It has tried to give the lease back, and will not try again."""
    late: bool = False
    """By its clock all leases that it got before have run out."""
    told_dead: bool = False
    """When it told the store of its 401, the session was dead."""


class World(NamedTuple):
    """All but the workers."""

    row: StoredSession | None = None
    """A lease's owner is ANOTHER here: who it is, the workers know."""
    alive: frozenset[str] = frozenset()
    """Tokens that ServiceTrade would let in; they are t1, t2 and so on, in the order of the logins."""
    shared: frozenset[str] = frozenset()
    """Those of them that were ever stored."""
    unseen: frozenset[str] = frozenset()
    """Those of them that were stored while their maker could not learn that they were."""
    refuses: bool = False
    """ServiceTrade answers every login with 403."""
    logins: int = 0
    """POST /auth that were served, in all time."""
    events: tuple[int, ...] = (0,) * len(Event)
    """How many of each have happened."""

    @property
    def stored(self) -> str | None:
        """The row's token."""
        return self.row.token.reveal() if self.row is not None and self.row.token is not None else None

    def happened(self, *events: Event) -> int:
        """How many of these, in all."""
        return sum(self.events[_INDEX[event]] for event in events)

    def after(self, event: Event) -> World:
        """The same world, and the event has happened."""
        at = _INDEX[event]
        return self._replace(events=(*self.events[:at], self.events[at] + 1, *self.events[at + 1 :]))

    def without(self, token: str) -> World:
        """The same world, and this session is dead."""
        gone = {token}
        return self._replace(alive=self.alive - gone, shared=self.shared - gone, unseen=self.unseen - gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many events the adversary has: in all, and of some kinds fewer."""

    total: int = 0
    each: Mapping[Event, int] = field(default_factory=dict)

    def allows(self, world: World, event: Event) -> bool:
        """Whether it may happen once more."""
        return sum(world.events) < self.total and world.happened(event) < self.each.get(event, self.total)


class Step(NamedTuple):
    """One atomic step, of a worker or around them all."""

    what: str
    world: World
    worker: Worker | None = None
    """The worker afterwards, if it was its step."""
    asked: Operation | None = None
    """What the worker had asked for."""
    reply: Reply | None = None
    """What its code was given, if it went on."""
    event: Event | None = None
    """It is the adversary's."""
    told_dead: bool = False
    """As the worker had it before."""

    def __str__(self) -> str:
        asked = "" if self.asked is None else f"{self.asked} "
        result = self.reply or (self.worker and self.worker.answer)
        return f"{asked}{self.what}".strip() + ("" if result is None else f" -> {result}")
