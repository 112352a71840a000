"""RememberedMessages: as exact as a list of everything, and bounded."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.duplicates import ALONE, RememberedMessages

HORIZON_MS = 10
PREFIXES = st.integers(0, 3).map(lambda count: list(range(count))) | st.just(ALONE)
"""What a webhook holds whose elements are all readable."""
SIGHTINGS = st.tuples(
    st.sampled_from([1, 3, 0, 5, 9, 10, 11, 21]),
    st.sampled_from(["a", "a", "a", "b"]),
    PREFIXES | st.lists(st.integers(0, 3), unique=True, max_size=3).map(sorted),
)


@settings(max_examples=200)
@given(st.lists(SIGHTINGS, min_size=4, max_size=16))
def test_a_repeat_is_what_occurred_within_the_horizon_and_nothing_else(
    sightings: list[tuple[int, str, Sequence[int]]],
) -> None:
    remembered = RememberedMessages(HORIZON_MS)
    occurred: list[tuple[str, int, int]] = []
    now = 1_000
    for step, message, indices in sightings:
        now += step
        expected = {
            index
            for index in indices
            if any(name == message and at == index and now - seen <= HORIZON_MS for name, at, seen in occurred)
        }
        occurred += [(message, index, now) for index in indices]
        assert set(remembered.see("acme", message, indices, now)) == expected


@settings(max_examples=60)
@given(st.lists(st.integers(0, HORIZON_MS), min_size=1, max_size=60))
def test_no_more_is_held_than_what_occurred_within_two_horizons_and_a_step(steps: list[int]) -> None:
    remembered = RememberedMessages(HORIZON_MS)
    times: list[int] = []
    now = 0
    for number, step in enumerate(steps):
        now += step
        times.append(now)
        remembered.see("acme", f"message {number}", [0], now)
        # The generations turn at the first message after a horizon: steps are at most one horizon here.
        assert len(remembered) <= sum(now - seen <= 3 * HORIZON_MS for seen in times)


def test_after_two_horizons_of_traffic_a_message_is_gone() -> None:
    remembered = RememberedMessages(HORIZON_MS)
    remembered.see("acme", "first", [0], 0)
    for now in range(1, 2 * HORIZON_MS + 3):
        remembered.see("acme", "other", [0], now)
    assert len(remembered) == 1


def test_a_repeat_at_the_horizon_counts_and_one_millisecond_later_does_not() -> None:
    remembered = RememberedMessages(HORIZON_MS)
    remembered.see("acme", "a", [0], 100)
    assert set(remembered.see("acme", "a", [0], 110)) == {0}
    assert set(remembered.see("acme", "a", [0], 121)) == set()


def test_a_repeat_counts_from_the_last_repeat() -> None:
    remembered = RememberedMessages(HORIZON_MS)
    for now in range(0, 10 * HORIZON_MS, HORIZON_MS):
        assert set(remembered.see("acme", "a", [0], now)) == ({0} if now else set())


def test_repeats_with_fewer_and_with_more_elements_are_told_apart_by_element() -> None:
    remembered = RememberedMessages(HORIZON_MS)
    remembered.see("acme", "a", [0, 1], 0)
    assert set(remembered.see("acme", "a", [0], 6)) == {0}
    assert set(remembered.see("acme", "a", [0, 1, 2], 11)) == {0}
    assert set(remembered.see("acme", "a", [1, 2], 12)) == {1, 2}


def test_a_repeat_with_fewer_elements_does_not_make_the_others_forgotten() -> None:
    remembered = RememberedMessages(HORIZON_MS)
    remembered.see("acme", "a", [0, 1], 0)
    assert set(remembered.see("acme", "a", [0], 6)) == {0}
    assert set(remembered.see("acme", "a", [0, 1], 8)) == {0, 1}


def test_forgetting_starts_anew() -> None:
    remembered = RememberedMessages(HORIZON_MS)
    remembered.see("acme", "a", [0], 100)
    remembered.forget()
    assert len(remembered) == 0
    assert set(remembered.see("acme", "a", [0], 100)) == set()
