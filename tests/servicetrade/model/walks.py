"""Random ways through the model on which real coroutines, run without any memory, must do what the automaton says."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.servicetrade.model.automaton import Kind, Run
from tests.servicetrade.model.explorer import AROUND, Explorer
from tests.servicetrade.model.frames import frozen


def walk(explorer: Explorer, kinds: Sequence[Kind], random: Random) -> int:
    """Go one random way to its end, with one fresh coroutine a worker; returns its number of steps.

    Raises AssertionError where a coroutine asks for something else than the automaton, or ends otherwise.
    """
    automaton = explorer.rules.automaton
    runs = [Run(automaton.login, kind) for kind in kinds]
    state, steps = explorer.first, 0
    while choices := explorer.choices(state):
        position, moves = random.choice([choice for choice in choices if choice[1]])
        move = random.choice(moves)
        step, run = move.step, runs[position - 1]
        if position != AROUND and step.reply is not None and step.worker is not None:
            run.resume(step.reply, late=explorer.workers.items[state[position]].late)
            expected = automaton.locals[step.worker.local]
            assert (run.local.ended, frozen(run.local.asks)) == (expected.ended, frozen(expected.asks)), str(step)
        state, steps = explorer.after(state, position, move), steps + 1
    for run in runs:
        run.abandon()
    return steps
