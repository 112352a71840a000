"""The pure parts of the mirror: what each step makes of a row, and what needs no read."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.change import Action
from sinks import mirror_row
from sinks.mirror_core import snapshot_of
from sinks.mirror_coverage import Covered, up_to_deletion
from sinks.mirror_row import Row
from tests.sinks.making import arrived, change

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("row", "updated", "new"),
    [
        (Row(), 10, True),
        (Row(ticket=3), 10, True),
        (Row(ticket=3), None, True),
        (Row(mirrored_at=5, updated_at=9), 10, True),
        (Row(mirrored_at=5, updated_at=10), 10, None),
        (Row(mirrored_at=5, updated_at=10, written_ticket=1), 10, False),
        (Row(mirrored_at=5, updated_at=9, written_ticket=1), 10, True),
        (Row(mirrored_at=5, updated_at=11), 10, False),
        (Row(mirrored_at=5, updated_at=9), None, False),
        (Row(mirrored_at=5), 10, False),
        (Row(mirrored_at=5, updated_at=9, deleted_at=9), 10, False),
        (Row(mirrored_at=5, deleted_at=9), 10, False),
        (Row(deleted_at=9), 10, False),
    ],
)
def test_what_stands_in_a_list_is_taken_only_where_nothing_newer_can_be_there(
    row: Row, updated: int | None, new: bool | None
) -> None:
    """`new` is None where the list's state is taken, but cannot be told from the row's."""
    values, result = mirror_row.take_listed(snapshot_of({"id": 1, "updated": updated}))(row, NOW)
    assert result == bool(new)
    taken = new is not False
    assert (values.get("mirrored_at"), values.get("updated_at")) == ((NOW, updated) if taken else (None, None))
    assert values.keys().isdisjoint({"ticket", "written_ticket", "last_sequence", "deleted_at"})


STATES = st.lists(st.tuples(st.sampled_from(["read", "list"]), st.integers(1, 6)), max_size=12)


@given(STATES, st.integers(0, 2**32))
def test_reads_and_lists_in_whatever_order_they_end_leave_the_latest_state(
    began: list[tuple[str, int]], seed: int
) -> None:
    """Each began at its place, and found the newest state there was; they end in any order."""
    row, newest, pending = Row(), 0, []
    for place, (kind, updated) in enumerate(began):
        newest = max(newest, updated)
        one = change(place + 1)
        snapshot = snapshot_of({"updated": newest})
        if kind == "list":
            pending.append(mirror_row.take_listed(snapshot))
            continue
        values, reading = mirror_row.take_ticket(one, again=True)(row, NOW)
        row = row.after(values)
        assert reading is not None
        pending.append(mirror_row.write(one, reading.ticket, snapshot))
    random.Random(seed).shuffle(pending)
    for step in pending:
        values, _ = step(row, NOW)
        row = row.after(values)
    assert (row.updated_at or 0) == newest


def test_a_status_that_no_index_could_hold_is_cut_in_its_column_only() -> None:
    snapshot = snapshot_of({"id": 1, "status": "s" * 10_000})
    assert snapshot.status == "s" * 200
    assert "s" * 10_000 in snapshot.data


def test_a_step_remembers_the_change_with_what_it_writes_and_never_an_earlier_one() -> None:
    row = Row(last_sequence=change(5).sequence, ticket=1)
    steps: list[Any] = [
        lambda one: mirror_row.write(one, 1, snapshot_of({})),
        lambda one: mirror_row.mark_deleted(one, at=None, again=False),
    ]
    for step in steps:
        assert step(change(6))(row, NOW)[0]["last_sequence"] == change(6).sequence
        values, _ = step(change(5))(row, NOW)
        assert "last_sequence" not in values
        assert values["mirrored_at"] == NOW


def actions(*sequence_and_action: tuple[int, Action]) -> list[Any]:
    return [arrived(change(number, action=action)) for number, action in sequence_and_action]


@pytest.mark.parametrize(
    ("arrivals", "count"),
    [
        (actions((1, "updated"), (2, "updated")), 0),
        (actions((1, "updated"), (2, "deleted"), (3, "updated")), 2),
        (actions((1, "deleted"), (2, "deleted"), (3, "updated")), 2),
        (actions((5, "updated"), (2, "deleted")), 0),
        (actions((2, "deleted"), (5, "updated"), (3, "deleted")), 1),
        (actions((2, "deleted"), (2, "deleted")), 2),
    ],
)
def test_what_stands_before_a_deletion_needs_no_read_unless_it_is_newer(arrivals: list[Any], count: int) -> None:
    assert up_to_deletion(arrivals) == arrivals[:count]


def test_a_read_covers_what_had_been_appended_before_it_began_and_nothing_else() -> None:
    covered = Covered()
    covered.remember([arrived(change(3))], 10)
    at = [arrived(change(number)) for number in (2, 9, 10, 11)]
    assert covered.leading(at) == at[:2]
    assert covered.leading([arrived(change(5), again=True)]) == []
    assert covered.leading([arrived(change(5, action="deleted"))]) == []
    assert covered.leading([arrived(change(5, entity_id=2))]) == []
    elsewhere = arrived(change(5))
    elsewhere.record.partition = 1
    assert covered.leading([elsewhere]) == []
    covered.forget(at)
    assert covered.leading(at) == []


def test_a_read_with_nothing_behind_it_in_the_log_is_not_remembered_and_the_oldest_are_forgotten() -> None:
    covered = Covered(most=2)
    covered.remember([arrived(change(3))], 4)
    assert covered.leading([arrived(change(3))]) == []
    for entity_id in (1, 2, 1, 3):
        covered.remember([arrived(change(3, entity_id))], 10)
    assert [len(covered.leading([arrived(change(5, entity_id))])) for entity_id in (1, 2, 3)] == [1, 0, 1]
