"""The life of a command, against a model of the store and of ServiceTrade in which everything may fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.command import Method
from schemas.errors import Reject, RetryLater
from sinks.command_core import SETTLE_S
from tests.sinks.command_world import FATES, LONGEST_WAY_S, Fate, World, a_command

fates = st.lists(st.tuples(st.sampled_from(FATES), st.integers(1, LONGEST_WAY_S)), max_size=8)
methods = st.sampled_from([("POST", True), ("POST", False), ("PUT", False), ("DELETE", False)])
deadlines = st.sampled_from([None, 999, 1_000, 1_001, 1_005, 1_040])


@given(how=methods, fates=fates, not_after=deadlines, there=st.booleans())
def test_a_result_is_true_and_a_post_has_one_effect_at_most_whatever_fails(
    how: tuple[Method, bool], fates: list[Fate], not_after: int | None, there: bool
) -> None:
    method, checked = how
    world = World(a_command(method, checked=checked, not_after=not_after), list(fates), there=there)
    result = world.until_settled()
    world.wait(LONGEST_WAY_S)
    if method == "POST":
        assert world.effects <= 1
    match result.outcome:
        case "done":
            assert world.effects >= 1 or (method == "DELETE" and not world.there)
        case "failed" | "expired":
            assert world.effects == 0
    assert world.until_settled() == result, "a repeat is told the same"
    assert world.until_settled(offset=5) == result, "another record of it too"


@given(fates=fates, not_after=deadlines)
def test_a_post_without_a_check_is_sent_again_only_if_nothing_happened(
    fates: list[Fate], not_after: int | None
) -> None:
    harmless = sum(word == "429" for word, _ in fates)
    world = World(a_command("POST", not_after=not_after), list(fates))
    world.until_settled()
    assert world.requests <= 1 + harmless


@given(fates=fates, redrives=st.lists(fates, max_size=3))
def test_a_redrive_of_a_post_is_one_more_try_however_often_it_is_given(
    fates: list[Fate], redrives: list[list[Fate]]
) -> None:
    world = World(a_command("POST"), list(fates))
    result = world.until_settled()
    for offset, more in enumerate(redrives, start=1):
        # A person looks at it later than any request is on its way.
        world.wait(SETTLE_S)
        before, effects = result, world.effects
        world.fates = list(more)
        result = world.until_settled(offset, again=True)
        if before.outcome == "done":
            assert (result, world.effects) == (before, effects)
        world.wait(SETTLE_S)
        assert world.effects <= effects + 1
        assert world.until_settled(offset, again=True) == result
    assert world.effects <= 1 + len(redrives)


@given(fates=fates, redrives=st.lists(fates, max_size=3))
def test_a_post_with_a_check_has_one_effect_at_most_even_if_it_is_redriven(
    fates: list[Fate], redrives: list[list[Fate]]
) -> None:
    world = World(a_command("POST", checked=True), list(fates))
    world.until_settled()
    for offset, more in enumerate(redrives, start=1):
        world.wait(SETTLE_S)
        world.fates = list(more)
        world.until_settled(offset, again=True)
    world.wait(SETTLE_S)
    assert world.effects <= 1


def test_a_failed_command_that_is_redriven_is_performed_anew() -> None:
    world = World(a_command("PUT"), [("well", 0), ("4xx", 0)])
    assert world.until_settled().outcome == "failed"
    assert world.until_settled(offset=1).outcome == "failed"
    again = world.until_settled(offset=2, again=True)
    assert (again.outcome, again.attempts, world.effects) == ("done", 2, 1)
    assert world.until_settled(offset=1, again=True) == again, "an older redrive has no say"


def test_a_redriven_command_that_is_not_taken_keeps_its_outcome_until_it_is() -> None:
    world = World(a_command("PUT"), [("well", 0), ("4xx", 0)])
    failed = world.until_settled()
    world.fates = [("well", 0), ("429", 0)]
    with pytest.raises(RetryLater):
        world.deliver(offset=1, again=True)
    assert world.deliver(offset=0) == failed
    assert world.deliver(offset=1, again=True).outcome == "done"


def test_another_command_under_a_known_id_is_refused() -> None:
    world = World(a_command("PUT"))
    world.until_settled()
    world.command = replace(world.command, body={"name": "other"})
    with pytest.raises(Reject, match="'c1' was used before"):
        world.deliver()
    world.command = replace(a_command("PUT"), not_after=1, check=None)
    assert world.deliver().outcome == "done"


def test_what_nobody_can_send_is_refused_and_uncertain_if_it_may_have_been_sent() -> None:
    world = World(a_command("PUT"), [("well", 0), ("lost", 0)])
    world.obstacle = "account 'acme' is not configured"
    with pytest.raises(Reject, match="not configured"):
        world.deliver()
    world.obstacle = None
    with pytest.raises(RetryLater):
        world.deliver()
    world.obstacle = "account 'acme' is not configured"
    result = world.deliver()
    assert (result.outcome, result.messages) == ("uncertain", ("account 'acme' is not configured",))


@pytest.mark.parametrize(
    ("method", "found", "outcome"),
    [("DELETE", False, "done"), ("DELETE", True, "uncertain"), ("PUT", True, "uncertain")],
)
def test_a_refusal_after_a_try_of_unknown_fate_is_no_failure(method: Method, found: bool, outcome: str) -> None:
    world = World(a_command(method), [("well", 0), ("lost" if not found else "5xx", 0), ("well", 0)])
    with pytest.raises(RetryLater):
        world.deliver()
    world.fates = [("well", 0), ("4xx" if found else "well", 0)]
    result = world.deliver()
    assert (result.outcome, result.status, result.attempts) == (outcome, 400 if found else 404, 2)


def test_a_check_that_is_refused_leaves_a_person_to_look() -> None:
    world = World(a_command("POST", checked=True), [("well", 0), ("lost", 0), ("4xx", 0)])
    result = world.deliver()
    assert (result.outcome, result.messages) == ("uncertain", ("the check was refused: HTTP 400: no such parameter",))
    assert result.checked is False


def test_what_a_check_does_not_find_is_sent_again_only_when_it_can_no_longer_be_under_way() -> None:
    world = World(a_command("POST", checked=True), [("well", 0), ("slow", LONGEST_WAY_S)])
    with pytest.raises(RetryLater) as caught:
        world.deliver()
    assert caught.value.after_s == SETTLE_S
    world.wait(9)  # and the list takes a second
    with pytest.raises(RetryLater) as caught:
        world.deliver()
    assert caught.value.after_s == SETTLE_S - 10
    world.wait(SETTLE_S - 10)
    result = world.deliver()
    assert (result.outcome, result.checked, result.entity_id, world.requests) == ("done", True, "7", 1)


def test_nothing_is_sent_after_the_deadline_whatever_the_fate_of_an_earlier_try() -> None:
    update = World(a_command("PUT", not_after=1_000), [("well", 0), ("lost", 0)])
    result = update.until_settled()
    assert (result.outcome, update.requests) == ("uncertain", 1)
    for not_after in (1_000, 1_031):  # the second passes while the list is read
        creation = World(a_command("POST", checked=True, not_after=not_after), [("well", 0), ("lost on the way", 0)])
        result = creation.until_settled()
        assert (result.outcome, result.checked, creation.requests) == ("expired", True, 1)
