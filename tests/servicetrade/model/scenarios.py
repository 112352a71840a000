"""How worlds begin, and the one way in which all are explored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.toml_reader import Secret
from servicetrade.stored_session import StoredSession
from tests.servicetrade.model.automaton import CREDENTIALS, Automaton, Kind
from tests.servicetrade.model.explorer import Explorer
from tests.servicetrade.model.steps import Rules
from tests.servicetrade.model.world import FORBIDDEN, RESOURCE, Budget, World

_ROW = StoredSession(generation=1, token=Secret("t1"), fingerprint=CREDENTIALS)
_TOKEN = frozenset({"t1"})

STARTS: Mapping[str, World] = {
    "an empty store": World(),
    "a live session": World(row=_ROW, alive=_TOKEN, shared=_TOKEN, logins=1),
    "a dead session": World(row=_ROW, logins=1),
    "a session of other credentials": World(row=replace(_ROW, fingerprint="old"), alive=_TOKEN, logins=1),
    "wrong credentials": World(refuses=True),
}

ALIKE = (Kind(RESOURCE),) * 3
ONE_FORBIDDEN = (Kind(RESOURCE), Kind(RESOURCE), Kind(FORBIDDEN))
"""The third worker reads what answers 401 to every session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Three workers, how their world begins, and how many events befall them at most."""

    start: str
    kinds: tuple[Kind, ...] = ALIKE
    events: int = 0

    def __str__(self) -> str:
        forbidden = " and a resource that always answers 401" if self.kinds == ONE_FORBIDDEN else ""
        return f"{self.start}{forbidden}, {self.events} events"

    def explorer(self, automaton: Automaton, *, reduce: bool = True) -> Explorer:
        """What explores it."""
        rules = Rules(automaton=automaton, budget=Budget(total=self.events))
        return Explorer(rules, STARTS[self.start], self.kinds, reduce=reduce)
