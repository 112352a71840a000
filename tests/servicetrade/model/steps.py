"""Every step that may come next in a world: of a worker, of the adversary against it, and of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from servicetrade.stored_session import StoredSession
from tests.servicetrade.model.automaton import Automaton
from tests.servicetrade.model.handed import ME, UNAUTHORIZED, Operation, Reply
from tests.servicetrade.model.store import RowStore
from tests.servicetrade.model.world import ANOTHER, FORBIDDEN, RESOURCE, Budget, Event, Step, Worker, World

PROVE, LOG_IN, LOG_OUT, SLEEP = "GET /auth", "POST /auth", "DELETE /auth", "sleep"
_SERVED = (PROVE, LOG_IN, LOG_OUT, RESOURCE, FORBIDDEN)
_GENERATION_ARGUMENT = {"purge": 0, "try_lease": 1, "restore": 1, "bury": 1, "save": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How worlds go on.

    Args:
        automaton: what the workers do.
        store: RowStore, or a broken one.
        budget: of the adversary.
    """

    automaton: Automaton
    store: Callable[[StoredSession | None], RowStore] = RowStore
    budget: Budget = field(default_factory=Budget)

    def has_ended(self, worker: Worker) -> bool:
        """Whether it will do nothing any more."""
        return worker.killed or self.automaton.locals[worker.local].asks is None

    def is_private(self, world: World, worker: Worker) -> bool:
        """Whether what the worker does next touches nobody else, and would turn out the same at any later moment.

        Then nothing is missed if no other step is taken before it (the explorer's reduction; a test compares).
        """
        asks = self.automaton.locals[worker.local].asks
        if worker.killed or asks is None:
            return False
        if worker.answer is not None or asks.name == SLEEP:
            return True
        if asks.name in (PROVE, RESOURCE, FORBIDDEN):
            token = asks.args[0].reveal()
            # A dead session stays dead; one that is shared stays alive if the adversary cannot kill it: that a worker
            # ends it is a flaw that is found however this step is timed, except when its maker has not seen it stored.
            lasts = token in world.shared - world.unseen and not self.budget.allows(world, Event.SESSION_KILLED)
            return lasts or token not in world.alive
        # A generation that is past does not come back.
        past = world.row is not None and asks.name in _GENERATION_ARGUMENT
        return past and asks.args[_GENERATION_ARGUMENT[asks.name]] < _generation(world)

    def around(self, world: World, *, lease_unattended: bool) -> Iterator[Step]:
        """Steps of no worker: time passes, sessions are killed."""
        row = world.row
        if row is not None and row.login_wait_s > 0:
            yield Step("the pause between logins ends", world._replace(row=replace(row, login_wait_s=0.0)))
        if row is not None and row.lease_left_s > 0:
            after = world._replace(row=replace(row, lease_left_s=0.0))
            if lease_unattended:
                # Nobody will give it back, so this is but a matter of time, and costs the adversary nothing.
                yield Step("the lease that nobody attends to runs out", after)
            elif self.budget.allows(world, Event.LEASE_RAN_OUT):
                yield Step("the lease runs out", after.after(Event.LEASE_RAN_OUT), event=Event.LEASE_RAN_OUT)
        if self.budget.allows(world, Event.SESSION_KILLED):
            for token in sorted(world.alive):
                dead = world.without(token).after(Event.SESSION_KILLED)
                yield Step(f"{token} is killed", dead, event=Event.SESSION_KILLED)

    def of(self, world: World, worker: Worker) -> Iterator[Step]:
        """What a worker can do next, and what can be done to it."""
        asks = self.automaton.locals[worker.local].asks
        if worker.killed or asks is None:
            return
        if worker.answer is not None:
            yield self._go_on("is answered", world, worker, worker.answer)
            yield from self._answer_lost(asks, world, worker)
        elif asks.name == SLEEP:
            yield self._go_on("", world, worker, Reply())
        elif asks.name in _SERVED:
            yield from self._served(asks, world, worker)
        else:
            yield from self._stored(asks, world, worker)
        yield from self._struck(world, worker)

    def _go_on(self, what: str, world: World, worker: Worker, reply: Reply, event: Event | None = None) -> Step:
        if event is not None:
            world = world.after(event)
        local = self.automaton.step(worker.local, reply, late=worker.late)
        then = worker._replace(local=local, answer=None)
        if self.has_ended(then):
            then = Worker(local, leases=worker.leases)  # the rest is of no use any more
        asked = self.automaton.locals[worker.local].asks
        return Step(what, world, then, asked, reply, event, worker.told_dead)

    def _struck(self, world: World, worker: Worker) -> Iterator[Step]:
        if self.budget.allows(world, Event.WORKER_KILLED):
            killed = Worker(0, killed=True, leases=worker.leases)
            yield Step("is killed", world.after(Event.WORKER_KILLED), killed, event=Event.WORKER_KILLED)
        if self.budget.allows(world, Event.WORKER_CANCELLED):
            yield self._go_on("is interrupted", world, worker, Reply(error="cancelled"), Event.WORKER_CANCELLED)
        if not worker.late and self.budget.allows(world, Event.WORKER_SLOW):
            late = worker._replace(late=True)
            yield Step("takes its time", world.after(Event.WORKER_SLOW), late, event=Event.WORKER_SLOW)

    # ServiceTrade: first it acts, later the answer arrives.

    def _served(self, asks: Operation, world: World, worker: Worker) -> Iterator[Step]:
        token = asks.args[0].reveal() if asks.args else ""
        after = world
        if asks.name == LOG_IN:
            made = f"t{world.logins + 1}"
            after = world._replace(logins=world.logins + 1)
            if not world.refuses:
                after = after._replace(alive=after.alive | {made})
            answer = Reply(error="refused") if world.refuses else Reply(made)
        elif asks.name == LOG_OUT:
            after, answer = world.without(token), Reply()
            if self.budget.allows(world, Event.LOGOUT_FAILED):
                failed = Reply(error="unreachable")
                yield self._go_on("does not arrive", world, worker, failed, Event.LOGOUT_FAILED)
        elif asks.name == PROVE:
            answer = Reply(token in world.alive)
        else:
            answer = Reply(200 if token in world.alive and asks.name == RESOURCE else UNAUTHORIZED)
        yield Step("is served", after, worker._replace(answer=answer), asks)

    def _answer_lost(self, asks: Operation, world: World, worker: Worker) -> Iterator[Step]:
        event = {
            PROVE: Event.PROOF_UNANSWERED,
            LOG_IN: Event.LOGIN_UNANSWERED,
            LOG_OUT: Event.LOGOUT_FAILED,
        }.get(asks.name)
        if event is not None and self.budget.allows(world, event):
            lost = Reply(error="unreachable" if event is Event.LOGOUT_FAILED else "no answer")
            yield self._go_on("is not answered", world, worker, lost, event)

    # The store: each operation is one transaction. It may fail, or be done without its worker learning of it.

    def _stored(self, asks: Operation, world: World, worker: Worker) -> Iterator[Step]:
        before = _with_owner(world.row, ME if worker.leases else ANOTHER)
        store = self.store(before)
        result = getattr(store, asks.name)(*asks.args)
        row = store.row
        leases = row is not None and row.lease_owner == ME
        anew = asks.name == "try_lease" and result is not None
        worker_after = worker._replace(leases=leases, let_go=worker.let_go and leases and not anew)
        world_after = world._replace(row=_with_owner(row, ANOTHER))
        if asks.name == "purge":
            worker_after = worker_after._replace(told_dead=result is not None and world.stored not in world.alive)
        unseen = world_after
        if asks.name == "save" and result is not None:
            made = world.alive & {asks.args[2].reveal()}
            world_after = world_after._replace(shared=world.shared | made)
            unseen = world_after._replace(unseen=world.unseen | made)  # its maker may take it for surplus
        yield self._go_on("", world_after, worker_after, Reply(result))
        for error, event in (("store failed", Event.STORE_FAILED), ("cancelled", Event.WORKER_CANCELLED)):
            if row != before and self.budget.allows(world, event):
                yield self._go_on("is done, but", unseen, worker_after, Reply(error=error), event)
        if self.budget.allows(world, Event.STORE_FAILED):
            worker = worker._replace(let_go=worker.leases and (worker.let_go or asks.name == "release"))
            yield self._go_on("is not done", world, worker, Reply(error="store failed"), Event.STORE_FAILED)


def _generation(world: World) -> int:
    return world.row.generation if world.row is not None else 0


def _with_owner(row: StoredSession | None, owner: str) -> StoredSession | None:
    """The row as it is, but whoever has the lease goes by this name."""
    return row if row is None or row.lease_owner in (None, owner) else replace(row, lease_owner=owner)
