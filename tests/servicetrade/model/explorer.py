"""Walks breadth-first through all interleavings, checks the properties everywhere, and tells a shortest way to a flaw.

Worlds and workers are numbered, and a state is a tuple of such numbers. What a worker can do depends on nothing but
the world and itself, so it is found out once for each pair. Workers have no names: states that differ only in who is
who are one state.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tests.servicetrade.model.automaton import Kind
from tests.servicetrade.model.graph import Numbered, first_without_end, path_to
from tests.servicetrade.model.properties import Property, flaw_of_end, flaw_of_step
from tests.servicetrade.model.steps import Rules
from tests.servicetrade.model.world import Step, Worker, World

State: TypeAlias = tuple[int, ...]
"""The number of a world, then those of the workers, in ascending order."""

AROUND = -1
"""Stands for a worker where a step is nobody's."""


class Flaw(Exception):
    """A property does not hold; says which, and a shortest way there, one line a step."""

    def __init__(self, broken: Property, trace: Sequence[str]) -> None:
        super().__init__("\n".join((f"does not hold: {broken.value}", *trace)))
        self.broken = broken
        self.trace = tuple(trace)


class Move(NamedTuple):
    """A Step in numbers."""

    world: int
    worker: int
    """AROUND: of no worker."""
    others_lose_lease: bool
    paid: bool
    """The adversary has spent an event on it."""
    flaw: Property | None
    step: Step


@dataclass(slots=True, kw_only=True)
class Report:
    """What was explored."""

    states: int
    transitions: int
    ends: set[tuple[World, tuple[str, ...]]]
    """The worlds in which all workers had ended, and how, in alphabetical order."""
    seen: set[str] = field(default_factory=set)
    """Every operation with the kind of its reply, and every event."""


class Explorer:
    """One start, and all that can come of it.

    Args:
        rules: how it goes on.
        start: the world.
        kinds: of the workers.
        reduce: where a worker's next step is private (`Rules.is_private`), take no other one before it.
    """

    def __init__(self, rules: Rules, start: World, kinds: Sequence[Kind], *, reduce: bool = True) -> None:
        self.rules = rules
        self.worlds = Numbered[World]()
        self.workers = Numbered[Worker]()
        self._start = start
        self._reduce = reduce
        self._moves: dict[tuple[int, int], tuple[bool, list[Move]]] = {}
        self._around: dict[tuple[int, bool], list[Move]] = {}
        self._ended: list[bool] = []
        self._leases: list[bool] = []
        self._without_lease: list[int] = []
        world = self.worlds.number(start)
        self.first: State = (world, *(self._number(Worker(rules.automaton.start(kind))) for kind in kinds))

    def explore(self) -> Report:
        """Visit every state. Raises Flaw."""
        first = _sorted(self.first)
        known, states, parents = {first: 0}, [first], array("i", [0])
        sources, targets = array("i"), array("i")  # of all moves that cost the adversary nothing
        finals: list[int] = []
        report = Report(states=0, transitions=0, ends=set())
        for at, state in enumerate(states):  # grows on the way
            choices = self.choices(state)
            for position, moves in choices:
                report.transitions += len(moves)
                for move in moves:
                    successor = _sorted(self.after(state, position, move))
                    if move.flaw is not None:
                        raise Flaw(move.flaw, self._trace([*path_to(states, parents, at), successor]))
                    number = known.setdefault(successor, len(states))
                    if number == len(states):
                        states.append(successor)
                        parents.append(at)
                    if not move.paid:
                        sources.append(at)
                        targets.append(number)
            if not choices:
                finals.append(at)
                flaw = self._end(state, report)
                if flaw is not None:
                    raise Flaw(flaw, self._trace(path_to(states, parents, at)))
        stuck = first_without_end(len(states), finals, sources, targets)
        if stuck is not None:
            raise Flaw(Property.PROGRESS, self._trace(path_to(states, parents, stuck)))
        report.states = len(states)
        report.seen = set(self._seen())
        return report

    def choices(self, state: State) -> list[tuple[int, list[Move]]]:
        """All that can come next: the position in the state of a worker, or AROUND, and the moves there."""
        world, *workers = state
        found: list[tuple[int, list[Move]]] = []
        lease_attended = False
        for position, worker in enumerate(workers, start=1):
            if self._ended[worker]:
                continue
            private, moves = self._moves.get((world, worker)) or self._learn(world, worker)
            if private:
                return [(position, moves)]
            found.append((position, moves))
            lease_attended |= self._leases[worker]
        if found:
            found.append((AROUND, self._learn_around(world, lease_unattended=not lease_attended)))
        return found

    def after(self, state: State, position: int, move: Move) -> State:
        """The state that a move leads to, its workers in the order that they had."""
        if position == AROUND:
            return (move.world, *state[1:])
        after = [self._without_lease[worker] for worker in state[1:]] if move.others_lose_lease else list(state[1:])
        after[position - 1] = move.worker
        return (move.world, *after)

    def outcome(self, worker: int) -> str:
        """How a worker has ended, or empty."""
        ended = self.workers.items[worker]
        return "killed" if ended.killed else self.rules.automaton.locals[ended.local].ended

    def _end(self, state: State, report: Report) -> Property | None:
        world, outcomes = self.worlds.items[state[0]], tuple(sorted(map(self.outcome, state[1:])))
        report.ends.add((world, outcomes))
        return Property.PROGRESS if "" in outcomes else flaw_of_end(self._start, world, outcomes)

    def _trace(self, path: Sequence[State]) -> list[str]:
        """What happens on a path of states. In `state` every worker keeps its place, and so its name."""
        state, lines = self.first, []
        for following in path[1:]:
            position, move, state = next(
                (position, move, after)
                for position, moves in self.choices(state)
                for move in moves
                if _sorted(after := self.after(state, position, move)) == following
            )
            lines.append(f"{'' if position == AROUND else f'worker {position}: '}{move.step}")
        return lines

    def _learn(self, world: int, worker: int) -> tuple[bool, list[Move]]:
        before, who = self.worlds.items[world], self.workers.items[worker]
        moves = [self._move(before, step) for step in self.rules.of(before, who)]
        learnt = self._moves[world, worker] = (self._reduce and self.rules.is_private(before, who), moves)
        return learnt

    def _learn_around(self, world: int, *, lease_unattended: bool) -> list[Move]:
        if (moves := self._around.get((world, lease_unattended))) is None:
            before = self.worlds.items[world]
            moves = [self._move(before, step) for step in self.rules.around(before, lease_unattended=lease_unattended)]
            self._around[world, lease_unattended] = moves
        return moves

    def _move(self, before: World, step: Step) -> Move:
        row, worker = step.world.row, step.worker
        number = AROUND if worker is None else self._number(worker)
        outcome = "" if worker is None else self.outcome(number)
        return Move(
            world=self.worlds.number(step.world),
            worker=number,
            others_lose_lease=(worker is not None and worker.leases) or row is None or row.lease_owner is None,
            paid=step.event is not None,
            flaw=flaw_of_step(self._start, before, step, outcome),
            step=step,
        )

    def _number(self, worker: Worker) -> int:
        number = self.workers.number(worker)
        if number == len(self._ended):
            self._ended.append(self.rules.has_ended(worker))
            self._leases.append(worker.leases and not worker.let_go)
            self._without_lease.append(number)
            if worker.leases:
                self._without_lease[number] = self._number(worker._replace(leases=False, let_go=False))
        return number

    def _seen(self) -> Iterator[str]:
        for _, moves in [*self._moves.values(), *((False, moves) for moves in self._around.values())]:
            for step in (move.step for move in moves):
                if step.event is not None:
                    yield step.event.value
                elif step.asked is None:
                    yield step.what
                elif step.reply is not None:
                    value = step.reply.value
                    kind = value if value is None or isinstance(value, bool) else "something"
                    yield f"{step.asked.name}: {step.reply.error or kind}"


def _sorted(state: State) -> State:
    return (state[0], *sorted(state[1:]))
