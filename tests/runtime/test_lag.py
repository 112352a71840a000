"""How far behind: exact where times are known, never too short, too long by a look at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.lag import Behind, Lag, Place


def test_who_has_done_all_is_not_behind() -> None:
    lag: Lag[str] = Lag()
    assert lag.look(1_000, {}, {}) == Behind(0, 0)
    assert lag.look(1_000, {"a": 7, "b": 0}, {"a": Place(7, 10), "b": Place(0)}) == Behind(0, 0)


def test_records_are_added_up_and_the_oldest_gives_the_seconds() -> None:
    lag: Lag[str] = Lag()
    places = {"a": Place(5, 40_000), "b": Place(8, 70_000), "c": Place(3, 1)}
    assert lag.look(100_000, {"a": 7, "b": 18, "c": 3}, places) == Behind(12, 60)


def test_a_record_after_a_night_of_silence_is_not_as_old_as_the_night() -> None:
    lag: Lag[str] = Lag()
    hour = 3_600_000
    lag.look(8 * hour, {"a": 7}, {"a": Place(7, 100)})
    assert lag.look(8 * hour + 6_000, {"a": 8}, {"a": Place(7, 100)}) == Behind(1, 6)
    assert lag.look(8 * hour + 12_000, {"a": 9}, {"a": Place(7, 100)}) == Behind(2, 12)
    assert lag.look(8 * hour + 18_000, {"a": 9}, {"a": Place(9, 100)}) == Behind(0, 0)


def test_a_backlog_is_as_old_as_the_record_before_it_already_at_the_first_look() -> None:
    lag: Lag[str] = Lag()
    assert lag.look(3_600_000, {"a": 900}, {"a": Place(7, 0)}) == Behind(893, 3_600)
    assert lag.look(3_605_000, {"a": 901}, {"a": Place(7, 0)}) == Behind(894, 3_605)
    assert lag.look(3_610_000, {"a": 902}, {"a": Place(800, 3_600_000)}) == Behind(102, 10)


def test_without_any_time_it_counts_from_the_first_look_and_goes_on() -> None:
    lag: Lag[str] = Lag()
    assert lag.look(5_000, {"a": 9}, {"a": Place(7)}) == Behind(2, 0)
    assert lag.look(10_000, {"a": 9}, {"a": Place(7)}) == Behind(2, 5)
    assert lag.look(15_000, {"a": 30}, {"a": Place(7)}) == Behind(23, 10)


def test_what_the_reader_forgets_in_a_rebalance_stays_as_old_as_it_was() -> None:
    lag: Lag[str] = Lag()
    assert lag.look(100_000, {"a": 9}, {"a": Place(7, 40_000)}) == Behind(2, 60)
    assert lag.look(105_000, {"a": 9}, {"a": Place(7)}) == Behind(2, 65)
    assert lag.look(110_000, {"a": 9}, {"a": Place(8, 90_000)}) == Behind(1, 20)


def test_a_broker_whose_clock_is_ahead_makes_nothing_negative() -> None:
    lag: Lag[str] = Lag()
    assert lag.look(5_000, {"a": 9}, {"a": Place(7, 60_000)}) == Behind(2, 0)


def test_of_a_partition_that_went_and_came_back_nothing_is_remembered() -> None:
    lag: Lag[str] = Lag()
    lag.look(0, {"a": 7}, {"a": Place(7)})
    lag.look(5_000, {}, {})
    assert lag.look(10_000, {"a": 9}, {"a": Place(8)}) == Behind(1, 0)
    assert lag.look(11_000, {"a": 9}, {"a": Place(8)}) == Behind(1, 1)


@given(
    appended_ms=st.lists(st.integers(0, 9_000), min_size=1, max_size=40).map(sorted),
    looks=st.lists(st.tuples(st.integers(1, 3_000), st.floats(0, 1)), min_size=1, max_size=12),
    knows_times=st.booleans(),
)
def test_the_seconds_are_the_oldest_records_age_or_more_by_a_look_at_most(
    appended_ms: list[int], looks: list[tuple[int, float]], *, knows_times: bool
) -> None:
    """From the first look on, at which nothing was there yet."""
    lag: Lag[str] = Lag()
    lag.look(-1, {"a": 0}, {"a": Place(0)})
    now, position, before = -1, 0, -1
    for step, share in looks:
        now, before = now + step, now
        end = sum(one <= now for one in appended_ms)
        position = max(position, round(share * end))
        # As a reader of batches knows it: when the last record that it has read was appended.
        known = appended_ms[position - 1] if knows_times and position else None
        found = lag.look(now, {"a": end}, {"a": Place(position, known)})
        assert found.records == end - position
        if position == end:
            assert found.seconds == 0
            continue
        age_s = (now - appended_ms[position]) / 1000
        assert found.seconds >= age_s
        if appended_ms[position] > before:
            assert found.seconds <= age_s + step / 1000
