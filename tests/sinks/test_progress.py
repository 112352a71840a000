"""Which offset may be committed, for every order in which records can be finished."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.progress import Progress


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Reads of ascending offsets with gaps, and finishes of what was read, mixed."""
    history: list[tuple[str, int]] = []
    unfinished: set[int] = set()
    offset = draw(st.integers(0, 5))
    for _ in range(draw(st.integers(0, 30))):
        finish = draw(st.booleans())
        if unfinished and finish:
            chosen = draw(st.sampled_from(sorted(unfinished)))
            unfinished.remove(chosen)
            history.append(("finish", chosen))
        else:
            history.append(("read", offset))
            unfinished.add(offset)
            offset += draw(st.sampled_from([1, 1, 1, 2, 7]))
    return history


@settings(derandomize=True, deadline=None)
@given(histories())
def test_nothing_unfinished_lies_below_the_position_and_nothing_finished_is_held_back_without_need(
    history: list[tuple[str, int]],
) -> None:
    progress = Progress()
    read: list[int] = []
    finished: set[int] = set()
    positions: list[int] = []
    for step, offset in history:
        if step == "read":
            progress.read(offset)
            read.append(offset)
        else:
            progress.finish(offset)
            finished.add(offset)
        unfinished = [one for one in read if one not in finished]
        # The naive rule: the first unfinished record, or behind the last one if there is none.
        behind = max(read) + 1
        assert progress.position is not None
        if unfinished:
            assert progress.position <= min(unfinished)
            assert not [one for one in read if progress.position <= one < min(unfinished)]
            assert progress.held == len([one for one in read if one >= min(unfinished)])
        else:
            assert (progress.position, progress.held) == (behind, 0)
        positions.append(progress.position)
    assert positions == sorted(positions)


def test_nothing_was_read_so_nothing_can_be_committed() -> None:
    assert Progress().position is None


def test_a_record_in_progress_holds_back_the_commit_of_all_later_ones() -> None:
    progress = Progress()
    for offset in (3, 4, 6):
        progress.read(offset)
    progress.finish(6)
    progress.finish(4)
    assert (progress.position, progress.held) == (3, 3)
    progress.finish(3)
    assert (progress.position, progress.held) == (7, 0)


@pytest.mark.parametrize("again", [3, 2])
def test_an_offset_that_was_read_before_is_refused(again: int) -> None:
    progress = Progress()
    progress.read(3)
    with pytest.raises(ValueError, match="was read before"):
        progress.read(again)
    progress.finish(3)
    with pytest.raises(ValueError, match="was read before"):
        progress.read(again)


def test_only_what_is_in_progress_can_be_finished_and_only_once() -> None:
    progress = Progress()
    progress.read(3)
    progress.read(5)
    progress.finish(5)
    for offset in (2, 5, 6):
        with pytest.raises(ValueError, match="is not in progress"):
            progress.finish(offset)
