"""The login protocol explored exhaustively: see tests/servicetrade/model for what the model is and how to read it.

Explored here: everything that can happen to three workers with any two events from an empty store, a live session and
wrong credentials, and with any one event from a dead session and a session of other credentials; also with one worker
whose resource always answers 401. That is a million states and 2.2 million steps, and every property is checked in all.
`python -m tests.servicetrade.model 2` explores any two events everywhere: 12.8 million states, in some minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextlib import suppress
from dis import get_instructions
from random import Random
from types import FunctionType
from typing import Any

import pytest

from schemas.errors import StoreError
from servicetrade.login import SharedLogin
from tests.servicetrade.model.automaton import Automaton
from tests.servicetrade.model.explorer import Flaw
from tests.servicetrade.model.frames import TOLD_TO_OTHERS, abandon, frozen, remembered
from tests.servicetrade.model.handed import ask
from tests.servicetrade.model.mutants import MUTANTS, LeasesToAll, Mutant
from tests.servicetrade.model.properties import Property
from tests.servicetrade.model.scenarios import ALIKE, ONE_FORBIDDEN, STARTS, Scenario
from tests.servicetrade.model.steps import Rules
from tests.servicetrade.model.walks import walk
from tests.servicetrade.model.world import Event, World

SCENARIOS = (
    Scenario(start="an empty store", events=2),
    Scenario(start="an empty store", kinds=ONE_FORBIDDEN, events=1),
    Scenario(start="a live session", events=2),
    Scenario(start="a live session", kinds=ONE_FORBIDDEN, events=2),
    Scenario(start="a dead session", events=1),
    Scenario(start="a dead session", kinds=ONE_FORBIDDEN, events=1),
    Scenario(start="a session of other credentials", events=1),
    Scenario(start="wrong credentials", events=2),
)


@pytest.fixture(scope="module")
def automaton() -> Automaton:
    """What the real code does, learnt once for all tests here."""
    return Automaton()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of logins fail here on purpose."""
    caplog.set_level(logging.CRITICAL + 1, logger="servicetrade.login")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_no_interleaving_of_three_workers_breaks_the_protocol(automaton: Automaton, scenario: Scenario) -> None:
    report = scenario.explorer(automaton).explore()
    assert report.ends


OK, PROVEN, LAST = "ok", "401 of a session proven alive", "last 401 of GET /forbidden"


@pytest.mark.parametrize(
    ("start", "logins", "ends", "ends_with_one_forbidden"),
    [
        ("an empty store", 1, {(OK, OK, OK)}, {(PROVEN, OK, OK)}),
        ("a live session", 0, {(OK, OK, OK)}, {(PROVEN, OK, OK)}),
        ("a dead session", 1, {(OK, OK, OK)}, {(PROVEN, OK, OK), (LAST, OK, OK)}),
        ("a session of other credentials", 1, {(OK, OK, OK)}, {(PROVEN, OK, OK)}),
        ("wrong credentials", 1, {("LoginRefused",) * 3}, {("LoginRefused",) * 3}),
    ],
)
def test_without_events_there_are_no_more_logins_than_needed_and_everyone_gets_an_answer(
    automaton: Automaton,
    start: str,
    logins: int,
    ends: set[tuple[str, ...]],
    ends_with_one_forbidden: set[tuple[str, ...]],
) -> None:
    for kinds, expected in ((ALIKE, ends), (ONE_FORBIDDEN, ends_with_one_forbidden)):
        report = Scenario(start=start, kinds=kinds).explorer(automaton).explore()
        assert {outcomes for _, outcomes in report.ends} == expected
        assert {world.logins - STARTS[start].logins for world, _ in report.ends} == {logins}


def test_every_operation_every_kind_of_reply_and_every_event_occurs(automaton: Automaton) -> None:
    seen: set[str] = set()
    for start in ("an empty store", "a dead session", "a session of other credentials", "wrong credentials"):
        seen |= Scenario(start=start, events=1).explorer(automaton).explore().seen
    seen |= Scenario(start="a live session", kinds=ONE_FORBIDDEN, events=1).explorer(automaton).explore().seen
    replies = {
        "read": "something",
        "purge": "something, None",
        "try_lease": "something, None",
        "restore": "True, False",
        "bury": "True, False",
        "save": "something, None",
        "record_failure": "True",
        "record_refusal": "True, False",
        "release": "True, False",
        "GET /auth": "True, False",
        "POST /auth": "something, refused",
        "DELETE /auth": "None",
        "GET /job": "something",
        "GET /forbidden": "something",
        "sleep": "None",
    }
    assert seen == {
        *(event.value for event in Event),
        *(f"{name}: {reply}" for name, kinds in replies.items() for reply in kinds.split(", ")),
        "the pause between logins ends",
        "the lease that nobody attends to runs out",
    }


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_protocol_is_caught_by_the_property_that_it_breaks(mutant: Mutant) -> None:
    with pytest.raises(Flaw) as caught:
        mutant.explorer().explore()
    assert caught.value.broken is mutant.caught_by


def test_every_property_catches_something() -> None:
    assert {mutant.caught_by for mutant in MUTANTS} == set(Property)


def test_a_flaw_is_told_with_a_shortest_way_to_it() -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.broken is LeasesToAll)
    with pytest.raises(Flaw) as caught:
        mutant.explorer().explore()
    row = "generation 0, no token, 0 of 0 suspicions cleared"
    assert str(caught.value).splitlines() == [
        f"does not hold: {Property.NO_ENDLESS_LOGIN.value}",
        f"worker 1: read() -> [{row}]",
        f"worker 2: read() -> [{row}]",
        f"worker 1: try_lease(me, 0) -> [{row}, leased by me]",
        f"worker 2: try_lease(me, 0) -> [{row}, leased by me]",
        "worker 2: POST /auth is served -> t1",
        "worker 1: POST /auth is served -> t2",
    ]


@pytest.mark.parametrize("start", STARTS)
def test_on_random_ways_the_real_code_run_anew_does_what_was_learnt(automaton: Automaton, start: str) -> None:
    explorer = Scenario(start=start, kinds=ONE_FORBIDDEN, events=3).explorer(automaton, reduce=False)
    random = Random(start)
    assert sum(walk(explorer, ONE_FORBIDDEN, random) for _ in range(200)) > 1000


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(start="an empty store", events=1),
        Scenario(start="a live session", kinds=ONE_FORBIDDEN, events=1),
        Scenario(start="a session of other credentials", events=1),
    ],
    ids=str,
)
def test_taking_private_steps_first_loses_no_end(automaton: Automaton, scenario: Scenario) -> None:
    reduced, full = scenario.explorer(automaton), scenario.explorer(automaton, reduce=False)
    assert later(full.rules, full.explore().ends) == later(reduced.rules, reduced.explore().ends)


def later(rules: Rules, ends: set[tuple[World, tuple[str, ...]]]) -> set[tuple[World, tuple[str, ...]]]:
    """The ends, and what time and the adversary can make of them: in full order some of that comes a little earlier."""
    found, todo = set(ends), list(ends)
    while todo:
        world, outcomes = todo.pop()
        following = {(step.world, outcomes) for step in rules.around(world, lease_unattended=True)}
        todo += following - found
        found |= following
    return found


async def forgets(value: int) -> None:
    await ask("first")
    await ask("second", value)


async def cleans_up() -> None:
    with suppress(StoreError):
        try:
            await ask("work")
        finally:
            await ask("clean up")


def test_what_a_coroutine_will_never_look_at_again_makes_no_difference() -> None:
    one, other = forgets(1), forgets(2)
    assert after(one) != after(other)
    assert after(one) == after(other)
    abandon(one)
    abandon(other)


def test_an_error_that_waits_until_the_clean_up_is_over_makes_a_difference() -> None:
    failed, broken, well = cleans_up(), cleans_up(), cleans_up()
    for coroutine in (failed, broken, well):
        coroutine.send(None)
    failed.throw(StoreError())
    broken.throw(ValueError())
    states = [remembered(failed), remembered(broken), after(well)]
    assert len(set(states)) == 3
    for coroutine in (failed, broken, well):
        abandon(coroutine)


def test_what_a_worker_keeps_for_others_makes_no_difference_to_its_own_steps() -> None:
    methods = [method for method in vars(SharedLogin).values() if isinstance(method, FunctionType)]
    steps = [method for method in methods if method.__name__ != "proven_since"]
    reads = {step.argval for method in steps for step in get_instructions(method) if "LOAD" in step.opname}
    assert {"_store", "_foreign"} <= reads
    assert not reads & TOLD_TO_OTHERS


def test_a_value_of_an_unknown_kind_is_not_taken_for_equal_to_another() -> None:
    with pytest.raises(TypeError, match="cannot tell"):
        frozen(bytearray())


def after(coroutine: Coroutine[Any, Any, None]) -> Any:
    """What it remembers at its next stop."""
    coroutine.send(None)
    return remembered(coroutine)
