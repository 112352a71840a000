"""Windows: when they close, and the change that they fold into."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.window import next_cut
from schemas.change import EntityChange
from schemas.pipeline import PipelineTimes
from tests.processors.running import core_with, element, tick, webhook

QUIET_MS, CEILING_MS = 10, 25
RULE = {"quiet_ms": QUIET_MS, "ceiling_ms": CEILING_MS}
TIMES = PipelineTimes(horizon_s=600, memory_s=1, max_ceiling_s=0.5)
KEY = "acme/job/1"
GRID = zlib.crc32(KEY.encode()) % 1_000
"""Phase of the entity's cuts, which come once a second here."""
CALM = 5_000 + GRID + 100
"""A time that is far from a cut."""


def changes_of(*times: int, closes_at: int) -> list[EntityChange]:
    """The windows that notifications at these times made, once time is `closes_at`."""
    core = core_with(RULE, TIMES)
    records = [webhook(offset, timestamp) for offset, timestamp in enumerate(times)]
    return core.feed([*records, tick(99, closes_at)]).changes


def folded(*notifications: dict[str, Any]) -> EntityChange:
    """The one change that notifications of one instant make."""
    core = core_with(RULE, TIMES)
    records = [webhook(offset, CALM, item) for offset, item in enumerate(notifications)]
    (change,) = core.feed([*records, tick(999, CALM + 60_000)]).changes
    return change


def entry(old: Any, new: Any, name: str = "status") -> dict[str, Any]:
    return {"field": name, "oldValue": old, "newValue": new}


def net(change: EntityChange) -> list[tuple[str, Any, Any]]:
    return [(item.name, item.old_value, item.new_value) for item in change.changeset]


def test_a_gap_of_exactly_the_quiet_period_joins() -> None:
    (change,) = changes_of(CALM, CALM + QUIET_MS, closes_at=CALM + 999)
    assert (change.notifications, change.due_ms, change.closed_by) == (2, CALM + 2 * QUIET_MS, "quiet")


def test_one_millisecond_more_than_the_quiet_period_opens_a_new_window() -> None:
    first, second = changes_of(CALM, CALM + QUIET_MS + 1, closes_at=CALM + 99)
    assert (first.due_ms, second.opened_ms) == (CALM + QUIET_MS, CALM + QUIET_MS + 1)


def test_a_window_is_still_open_at_its_due_time_and_closed_after_it() -> None:
    assert changes_of(CALM, closes_at=CALM + QUIET_MS) == []
    assert len(changes_of(CALM, closes_at=CALM + QUIET_MS + 1)) == 1


def test_a_notification_at_exactly_the_ceiling_joins() -> None:
    times = (CALM, CALM + 9, CALM + 18, CALM + CEILING_MS)
    (change,) = changes_of(*times, closes_at=CALM + 99)
    assert (change.notifications, change.due_ms, change.closed_by) == (4, CALM + CEILING_MS, "ceiling")


def test_one_millisecond_after_the_ceiling_a_new_window_opens_however_busy_the_entity() -> None:
    times = (CALM, CALM + 9, CALM + 18, CALM + CEILING_MS + 1)
    first, second = changes_of(*times, closes_at=CALM + 99)
    assert (first.notifications, first.closed_by, second.notifications) == (3, "ceiling", 1)


def test_a_window_whose_quiet_period_ends_with_its_ceiling_was_closed_by_the_ceiling() -> None:
    (change,) = changes_of(CALM, CALM + CEILING_MS - 2 * QUIET_MS, CALM + CEILING_MS - QUIET_MS, closes_at=CALM + 99)
    assert (change.due_ms, change.closed_by) == (CALM + CEILING_MS, "ceiling")


def test_a_notification_just_before_the_cut_joins_and_one_at_the_cut_opens_a_new_window() -> None:
    cut = 6_000 + GRID
    first, second = changes_of(cut - 5, cut - 1, cut, closes_at=cut + 99)
    assert (first.notifications, first.due_ms, first.closed_by) == (2, cut - 1, "cut")
    assert (second.opened_ms, second.due_ms, second.closed_by) == (cut, cut + QUIET_MS, "quiet")


@pytest.mark.parametrize(("before", "closed_by"), [(CEILING_MS + 1, "ceiling"), (CEILING_MS, "cut")])
def test_where_ceiling_and_cut_meet_the_earlier_one_is_named(before: int, closed_by: str) -> None:
    cut = 6_000 + GRID
    (change,) = changes_of(cut - before, cut - before + 10, cut - before + 20, closes_at=cut + 99)
    assert (change.due_ms, change.closed_by) == (cut - 1, closed_by)


@settings(max_examples=100)
@given(key=st.text(min_size=1), now=st.integers(0, 10**13), memory=st.integers(1, 10**6))
def test_the_next_cut_is_the_first_instant_of_the_keys_grid_after_now(key: str, now: int, memory: int) -> None:
    cut = next_cut(key, now, memory)
    assert now < cut <= now + memory
    assert (cut - zlib.crc32(key.encode())) % memory == 0


@pytest.mark.parametrize(
    ("actions", "net_action"),
    [
        (["updated"], "updated"),
        (["updated", "created"], "created"),
        (["created", "updated", "updated"], "created"),
        (["created", "deleted"], "deleted"),
        (["deleted", "created", "updated"], "deleted"),
    ],
)
def test_a_deletion_outweighs_a_creation_and_that_an_update(actions: list[str], net_action: str) -> None:
    assert folded(*(element(action=action) for action in actions)).action == net_action


def test_a_field_goes_from_its_first_old_to_its_last_new_value_by_the_notifications_own_time() -> None:
    late = element(timestamp=9, changeset=entry("b", "c"))
    early = element(timestamp=1, changeset=entry("a", "b"))
    between = element(timestamp=5, changeset=entry("x", "y"))
    assert net(folded(late, early, between)) == [("status", "a", "c")]


def test_at_the_same_time_a_creation_comes_before_an_update_and_that_before_a_deletion() -> None:
    deleted = element(action="deleted", changeset=entry("c", "d"))
    updated = element(changeset=entry("b", "c"))
    created = element(action="created", changeset=entry("a", "b"))
    assert net(folded(deleted, updated, created)) == [("status", "a", "d")]


def test_of_two_entries_for_one_field_the_changesets_order_decides() -> None:
    twice = element(timestamp=1, changeset=[entry("a", "b"), entry("b", "c")])
    assert net(folded(twice)) == [("status", "a", "c")]
    assert net(folded(element(timestamp=2, changeset=entry("c", "d")), twice)) == [("status", "a", "d")]


def test_a_field_that_ends_as_it_began_is_left_out_and_the_change_is_still_made() -> None:
    change = folded(element(changeset=entry({"x": 1, "y": 2}, 0)), element(changeset=entry(0, {"y": 2, "x": 1})))
    assert (net(change), change.notifications, change.changeset_complete) == ([], 2, True)


def test_one_and_true_and_one_point_zero_are_different_values() -> None:
    change = folded(element(changeset=[entry(1, True, "a"), entry(1, 1.0, "b"), entry(True, True, "c")]))
    assert [name for name, _, _ in net(change)] == ["a", "b"]


def test_fields_are_sorted_by_name() -> None:
    change = folded(element(changeset=[entry(0, 1, name) for name in ("z", "B", "ä", "a")]))
    assert [name for name, _, _ in net(change)] == ["B", "a", "z", "ä"]


def test_fields_beyond_two_hundred_and_fifty_six_are_not_kept_and_the_change_says_so() -> None:
    full = [entry(0, 1, f"field {number:03d}") for number in range(256)]
    fitting = folded(element(changeset=full), element(changeset=entry(1, 2, "field 007")))
    assert (len(fitting.changeset), fitting.changeset_complete) == (256, True)
    over = folded(element(changeset=full), element(changeset=entry(0, 1, "a field too many")))
    assert ([name for name, _, _ in net(over)], over.changeset_complete) == ([item["field"] for item in full], False)


def test_an_update_without_a_readable_changeset_makes_the_change_incomplete_and_a_creation_does_not() -> None:
    assert not folded(element(changeset=entry(0, 1)), element()).changeset_complete
    assert folded(element(changeset=entry(0, 1)), element(action="created")).changeset_complete


def test_the_first_thirty_two_sources_and_users_are_kept_and_all_are_counted() -> None:
    change = folded(*(element(userId=number // 2) for number in range(100)))
    assert change.notifications == 100
    assert [source.offset for source in change.sources] == list(range(32))
    assert change.users == tuple(range(32))


def test_users_are_named_once_and_the_system_is_null() -> None:
    assert folded(*(element(userId=user) for user in (5, None, 5, 2, None))).users == (5, None, 2)


def test_first_and_last_are_the_least_and_greatest_of_the_notifications_own_times() -> None:
    change = folded(*(element(timestamp=at) for at in (5, -3, 9, 7)))
    assert (change.first_at, change.last_at) == (-3, 9)


def test_the_sequence_is_made_of_epoch_offset_and_index_of_the_opening_notification() -> None:
    core = core_with(RULE, TIMES)
    changes = core.feed([webhook(41, CALM, element(1), element(2)), tick(42, CALM + 99)]).changes
    assert sorted(change.sequence for change in changes) == [
        "0002-0000000000000041-00000000",
        "0002-0000000000000041-00000001",
    ]


def test_the_id_names_the_opening_notification_by_its_own_append_time_and_the_rules_in_force() -> None:
    core = core_with(RULE, TIMES)
    # A small step back of the broker's clock: the window opens at the partition's time, the id keeps the record's.
    (change,) = core.feed([tick(7, CALM), webhook(8, CALM - 3), tick(9, CALM + 99)]).changes
    name = f"servicetrade.webhooks/3/8/0/{CALM - 3}/{change.rules_version}/1"
    assert change.id == hashlib.sha256(name.encode()).hexdigest()[:32]
    assert change.opened_ms == CALM
