"""The pure parts: pauses, reading a record, the outcomes of a coalesced read, the newer of two reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.change import EntityChange
from schemas.deadletter import redrives_of
from schemas.encoding import decode, encode
from schemas.record import LogRecord
from schemas.topics import REDRIVE_TO_HEADER, REDRIVES_HEADER
from sinks.arrival import Arrival
from sinks.changes_feed import ChangesFeed, read_change
from sinks.mirror_core import SUPERSEDED, Version, newest_of, outcomes_of, snapshot_of, wins
from sinks.outcome import ALREADY_DELIVERED, Delivered
from sinks.pauses import Pauses
from tests.sinks.making import change


def record_of(**overrides: Any) -> LogRecord:
    value = encode({**decode(encode(change(1))), **overrides})
    return LogRecord(topic="changes", partition=2, offset=5, timestamp=1_000, key=b"acme/job/1", value=value)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 10_000), st.none() | st.floats(0, 4000), st.floats(0, 1))
def test_a_pause_is_as_long_as_asked_for_at_least_and_grows_to_a_bound(
    failures: int, asked_s: float | None, jitter: float
) -> None:
    pauses = Pauses(first_s=0.5, longest_s=60)
    pause = pauses.after(failures, asked_s=asked_s, jitter=jitter)
    assert max(0.5, asked_s or 0) <= pause <= max(60, asked_s or 0) + 30
    assert pause <= pauses.after(failures + 1, asked_s=asked_s, jitter=jitter)


def arrival_of() -> Arrival[EntityChange]:
    arrival = ChangesFeed().read(record_of(), "s")
    assert arrival is not None
    return arrival


def test_a_change_is_read_with_its_record() -> None:
    arrival = arrival_of()
    assert (arrival.item, arrival.record.offset, arrival.attempts) == (change(1), 5, 0)
    assert (arrival.account, arrival.key, arrival.again) == ("acme", "acme/job/1", False)


@pytest.mark.parametrize(("to", "found"), [(b"s", True), (b"other", False), (b"", False), (b"*", True)])
def test_a_redriven_change_is_meant_for_one_sink_alone_or_for_all(to: bytes, *, found: bool) -> None:
    record = replace(record_of(), headers=((REDRIVE_TO_HEADER, to), (REDRIVES_HEADER, b"3")))
    arrival = ChangesFeed().read(record, "s")
    assert (arrival is not None and arrival.again) == found
    assert redrives_of(record) == 3


def test_what_a_sink_does_not_want_is_passed_over() -> None:
    assert ChangesFeed(lambda change: change.action == "deleted").read(record_of(), "s") is None


@pytest.mark.parametrize(
    "overrides",
    [
        {"id": None},
        {"id": ""},
        {"sequence": 1},
        {"sequence": "\0"},
        {"account": ["acme"]},
        {"account": "../acme"},
        {"entity_type": None},
        {"entity_id": 1},
        {"entity_id": "1/../2"},
        {"entity_id": "1" * 20},
        {"action": "exploded"},
        {"last_at": "yesterday"},
        {"last_at": -1},
        {"surprise": True},
    ],
    ids=str,
)
def test_a_change_whose_identity_no_sink_could_work_with_is_refused(overrides: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not an EntityChange"):
        read_change(record_of(**overrides))


@pytest.mark.parametrize(("now_ms", "latency_ms"), [(1_250, 250), (10, 0)])
def test_a_latency_is_never_negative_whatever_the_clocks_say(now_ms: int, latency_ms: int) -> None:
    told = ChangesFeed().tell(arrival_of(), Delivered(), sink="s", now_ms=now_ms)
    assert (told.latency_ms, decode(told.value)["latency_ms"]) == (latency_ms, latency_ms)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 10), st.lists(st.integers(1, 10), min_size=1, max_size=8))
def test_of_changes_served_by_one_read_the_newest_has_its_outcome_and_no_change_has_two_effects(
    last: int, numbers: list[int]
) -> None:
    changes = [change(number) for number in numbers]
    last_sequence = change(last).sequence if last else ""
    outcomes = outcomes_of(changes, last_sequence, Delivered())
    assert len(outcomes) == len(changes)
    assert outcomes.count(Delivered()) == (1 if max(numbers) > last else 0)
    seen = last
    for number, outcome in zip(numbers, outcomes, strict=True):
        assert (outcome == ALREADY_DELIVERED) == (number <= seen)
        assert (outcome == Delivered()) == (number > seen and number == max(numbers))
        assert (outcome == SUPERSEDED) == (seen < number < max(numbers))
        seen = max(seen, number)
    assert newest_of(changes).sequence == change(max(numbers)).sequence


def version(updated_at: int | None, written_ticket: int, *, deleted: bool = False) -> Version:
    return Version(updated_at=updated_at, written_ticket=written_ticket, deleted=deleted)


@settings(derandomize=True, deadline=None)
@given(st.permutations([(10, 1), (10, 2), (11, 3), (11, 4), (12, 5)]))
def test_in_whatever_order_reads_are_written_the_latest_one_stays(reads: list[tuple[int, int]]) -> None:
    row = version(None, 0)
    for updated, ticket in reads:
        if wins(row, snapshot_of({"updated": updated}), ticket):
            row = version(updated, ticket)
    assert row == version(12, 5)


def test_only_a_read_that_began_after_a_deletion_can_undo_it() -> None:
    deleted = version(10, 4, deleted=True)
    assert not wins(deleted, snapshot_of({"updated": 99}), 4)
    assert wins(deleted, snapshot_of({"updated": 10}), 5)


def test_without_a_time_of_update_the_read_that_began_later_is_the_newer_one() -> None:
    assert wins(version(None, 1), snapshot_of({"updated": 5}), 2)
    assert wins(version(5, 1), snapshot_of({}), 2)
    assert not wins(version(5, 2), snapshot_of({}), 1)


@pytest.mark.parametrize(
    ("updated", "expected"),
    [(5, 5), ("5", 5), (0, 0), (None, None), (True, None), (-1, None), (2**60, None), ("soon", None), (5.5, None)],
)
def test_a_time_is_seconds_or_nothing(updated: object, expected: int | None) -> None:
    assert snapshot_of({"updated": updated}).updated_at == expected


def test_columns_are_picked_from_the_entity_and_it_is_kept_whole() -> None:
    entity = {"id": 13, "name": "Re\0pair", "status": 7, "created": 1, "updated": 2, "extra": [1]}
    snapshot = snapshot_of(entity)
    assert (snapshot.name, snapshot.status, snapshot.created_at, snapshot.updated_at) == ("Repair", None, 1, 2)
    assert decode(snapshot.data.encode()) == {**entity, "name": "Repair"}
    assert "\0" not in snapshot.data
