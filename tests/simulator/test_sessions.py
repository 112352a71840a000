"""The session table by itself: limits and pruning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from servicetrade.simulator.sessions import HARD_LIMIT, SOFT_LIMIT, SessionTable


def test_the_201st_session_prunes_the_oldest_down_to_100() -> None:
    table = SessionTable()
    for number in range(200):
        assert table.open(f"t{number}", number) == []
    assert table.open("t200", 200) == [f"t{number}" for number in range(101)]
    assert len(table) == SOFT_LIMIT
    assert not table.is_live("t100")
    assert table.is_live("t101")
    assert table.is_live("t200")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=600))
def test_a_new_session_always_lives_and_the_limit_holds(steps: list[tuple[bool, int]]) -> None:
    table = SessionTable()
    for opens, number in steps:
        if opens:
            table.open(f"t{number}", 0)
            assert table.is_live(f"t{number}")
        else:
            table.end(f"t{number}")
            assert not table.is_live(f"t{number}")
        assert len(table) <= HARD_LIMIT


def test_an_ended_token_is_remembered_as_issued_but_dead() -> None:
    table = SessionTable()
    table.open("a", 0)
    assert table.end("a")
    assert not table.end("a")
    assert table.has_issued("a")
    assert not table.is_live("a")
    assert not table.has_issued("b")
