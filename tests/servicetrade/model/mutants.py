"""Broken protocols, each with the property that must catch it: a checker that finds nothing has to be able to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from runtime.toml_reader import Secret
from schemas.errors import LoginUnavailable
from servicetrade.login import SharedLogin
from servicetrade.stored_session import Doubt, StoredSession
from tests.servicetrade.model.automaton import Automaton, Kind
from tests.servicetrade.model.explorer import Explorer
from tests.servicetrade.model.properties import Property
from tests.servicetrade.model.scenarios import ALIKE, ONE_FORBIDDEN, STARTS
from tests.servicetrade.model.steps import Rules
from tests.servicetrade.model.store import SOME_TIME_S, RowStore
from tests.servicetrade.model.world import Budget, Event


class SavesAnything(RowStore):
    """Stores a new session whoever has the lease by now."""

    def save(self, owner: str, generation: int, token: Secret, fingerprint: str, login_interval_s: float) -> int | None:
        del owner, generation, fingerprint, login_interval_s
        self.row = StoredSession(generation=(self.row or StoredSession()).generation + 1, token=token)
        return self.row.generation


class BuriesAnything(RowStore):
    """Buries whatever session there is by now."""

    def bury(self, owner: str, generation: int) -> bool:
        del owner, generation
        self.row = replace(self.row or StoredSession(), token=None)
        return True


class ClearsTooMuch(RowStore):
    """Takes a session's proof for the answer to later doubts too."""

    def restore(self, owner: str, generation: int, suspicions: int) -> bool:
        return super().restore(owner, generation, max(suspicions, (self.row or StoredSession()).suspicions))


class LeasesToAll(RowStore):
    """Gives the lease to everyone who asks."""

    def try_lease(self, owner: str, generation: int) -> StoredSession | None:
        self.lease_runs_out()
        return super().try_lease(owner, generation)


class LeasesForEver(RowStore):
    """Does not let go of a lease that has run out."""

    def try_lease(self, owner: str, generation: int) -> StoredSession | None:
        if self.row is not None and self.row.lease_owner is not None:
            self.row = replace(self.row, lease_left_s=SOME_TIME_S)
        return super().try_lease(owner, generation)


class AsksNobody(SharedLogin):
    """Logs in after a 401 without asking GET /auth."""

    async def _is_dead(self, row: StoredSession, token: Secret) -> bool:
        del row, token
        return True


class BuriesUnheard(SharedLogin):
    """Takes every 401 for the death of the session."""

    async def _is_dead(self, row: StoredSession, token: Secret) -> bool:
        del token
        return await self._store.bury(self._account, self._owner, row.generation)


class KeepsSurplus(SharedLogin):
    """Does not end the session that it could not store."""

    async def _discard(self, token: Secret) -> None:
        """Do nothing."""


class DoubtsNothing(SharedLogin):
    """Is content with any old proof that the session lives."""

    async def doubt(self, generation: int) -> Doubt:
        return replace(await super().doubt(generation), suspicion=0)


class WaitsForNobody(SharedLogin):
    """Gives up where another worker is logging in."""

    async def _refresh(self, generation: int) -> bool:
        if not await super()._refresh(generation):
            raise LoginUnavailable("another worker is logging in")
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """What is broken, where that shows, and who must see it."""

    broken: type[RowStore | SharedLogin]
    caught_by: Property
    start: str
    kinds: tuple[Kind, ...] = ALIKE
    events: Mapping[Event, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.broken.__name__

    def explorer(self) -> Explorer:
        """Without the explorer's reduction, which counts on some of what is broken here."""
        login, store = SharedLogin, RowStore
        if issubclass(self.broken, SharedLogin):
            login = self.broken
        else:
            store = self.broken
        each = {event: self.events.get(event, 0) for event in Event}
        budget = Budget(total=sum(each.values()), each=each)
        rules = Rules(automaton=Automaton(login), store=store, budget=budget)
        return Explorer(rules, STARTS[self.start], self.kinds, reduce=False)


_A_LEASE_RAN_OUT = {Event.LEASE_RAN_OUT: 1}

MUTANTS = (
    Mutant(broken=SavesAnything, caught_by=Property.ONE_SESSION, start="an empty store", events=_A_LEASE_RAN_OUT),
    Mutant(broken=AsksNobody, caught_by=Property.ONE_SESSION, start="a live session", kinds=ONE_FORBIDDEN),
    Mutant(broken=BuriesUnheard, caught_by=Property.NO_LOST_TOKEN, start="a live session", kinds=ONE_FORBIDDEN),
    Mutant(broken=BuriesAnything, caught_by=Property.NO_LOST_TOKEN, start="a dead session", events=_A_LEASE_RAN_OUT),
    Mutant(broken=KeepsSurplus, caught_by=Property.NO_LOST_TOKEN, start="an empty store", events=_A_LEASE_RAN_OUT),
    Mutant(broken=LeasesToAll, caught_by=Property.NO_ENDLESS_LOGIN, start="an empty store"),
    Mutant(
        broken=ClearsTooMuch,
        caught_by=Property.TRUE_401,
        start="a live session",
        kinds=ONE_FORBIDDEN,
        events={Event.SESSION_KILLED: 1},
    ),
    Mutant(broken=DoubtsNothing, caught_by=Property.TRUE_401, start="a dead session"),
    Mutant(broken=WaitsForNobody, caught_by=Property.GOOD_ENDS, start="an empty store"),
    Mutant(broken=LeasesForEver, caught_by=Property.PROGRESS, start="an empty store", events={Event.WORKER_KILLED: 1}),
)
