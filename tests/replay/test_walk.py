"""A replay of a part of a log gives what a run over all of it gives of that part."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.rules import AccountRules, read_rules
from replay.selection import Selection
from schemas.change import EntityChange
from schemas.record import LogRecord
from schemas.topics import CONTROL_HEADER, CONTROL_TICK
from tests.processors.running import TIMES, core_for, core_with, tick, webhook
from tests.processors.strategies import ACCOUNTS, Dice, Log, logs, some_rules
from tests.replay.running import ALL, as_bytes, offset_at, replayed


def belongs(log: Log, change: EntityChange, first: int, second: int) -> bool:
    offset = int(change.sequence.split("-")[1])
    return offset_at(log, first) <= offset < offset_at(log, second)


def slice_of(log: Log, places: tuple[int, int, int]) -> tuple[list[EntityChange], int]:
    """What one run over the whole log up to the limit gives of the range, and which of its windows are open there."""
    first, second, limit = places
    core = core_for(log)
    changes = core.feed(log.records[:limit]).changes
    low, high = offset_at(log, first), offset_at(log, second)
    still_open = [one for one in core.openings() if low <= one.offset < high]
    return [change for change in changes if belongs(log, change, first, second)], len(still_open)


def three_places(log: Log, draw: st.DataObject) -> tuple[int, int, int]:
    first, second, limit = sorted(draw.draw(st.integers(0, len(log.records))) for _ in range(3))
    return first, second, limit


@settings(max_examples=150)
@given(log=logs(), data=st.data(), batch=st.integers(1, 7))
def test_a_range_gives_what_a_run_over_the_whole_log_gives_of_it(log: Log, data: st.DataObject, batch: int) -> None:
    places = three_places(log, data)
    expected, open_there = slice_of(log, places)
    found, still_open = replayed(log, *places, batch=batch)
    assert as_bytes(found) == as_bytes(expected)
    assert still_open == open_there


@settings(max_examples=100)
@given(log=logs(), data=st.data(), batch=st.integers(1, 5))
def test_a_replay_that_dies_goes_on_from_its_position_as_if_it_had_not(
    log: Log, data: st.DataObject, batch: int
) -> None:
    first, second, limit = three_places(log, data)
    resume_at = data.draw(st.integers(first, max(first, limit)))
    whole = replayed(log, first, second, limit, batch=batch)
    assert replayed(log, first, second, limit, batch=batch, resume_at=resume_at) == whole


@settings(max_examples=100)
@given(log=logs(), data=st.data())
def test_of_one_account_comes_what_comes_of_it_among_all(log: Log, data: st.DataObject) -> None:
    places = three_places(log, data)
    expected, _ = slice_of(log, places)
    found, _ = replayed(log, *places, selection=Selection([ACCOUNTS[0]]))
    assert as_bytes(found) == as_bytes([one for one in expected if one.account == ACCOUNTS[0]])


@settings(max_examples=100)
@given(log=logs(), data=st.data(), types=st.sets(st.sampled_from(("job", "jobitem", "hoverboard")), min_size=1))
def test_of_some_types_come_their_changes_as_they_are(log: Log, data: st.DataObject, types: set[str]) -> None:
    places = three_places(log, data)
    expected, _ = slice_of(log, places)
    found, _ = replayed(log, *places, types=types)
    assert as_bytes(found) == as_bytes([one for one in expected if one.entity_type in types])


def without_rules(record: LogRecord) -> LogRecord:
    if (CONTROL_HEADER, b"rules") in record.headers:
        return LogRecord(offset=record.offset, timestamp=record.timestamp, headers=((CONTROL_HEADER, CONTROL_TICK),))
    return record


@settings(max_examples=100)
@given(log=logs(), data=st.data(), choice=st.binary(min_size=16, max_size=16))
def test_with_given_rules_a_log_is_as_if_they_had_always_held(log: Log, data: st.DataObject, choice: bytes) -> None:
    places = first, second, limit = three_places(log, data)
    dice = Dice(choice)
    largest = log.times.max_ceiling_ms
    rules: dict[str, AccountRules] = {
        name: read_rules(some_rules(dice, max(1, largest // 20), log.times), max_ceiling_ms=largest)
        for name in ACCOUNTS
    }
    found, _ = replayed(log, *places, selection=Selection(fixed_rules=True), given=rules)
    whole = core_for(log, rules).feed([without_rules(record) for record in log.records[:limit]]).changes
    assert as_bytes(found) == as_bytes([change for change in whole if belongs(log, change, first, second)])


def test_a_window_that_straddles_the_ends_of_a_range_belongs_to_where_it_was_opened() -> None:
    core = core_with()
    records = [
        webhook(0, 0),
        webhook(1, 1_500),
        webhook(2, 3_000),
        tick(3, 10_000),
        webhook(4, 11_000),
        tick(5, 20_000),
    ]
    (merged, alone) = core.feed(records).changes
    assert [(one.sources[0].offset, one.notifications) for one in (merged, alone)] == [(0, 3), (4, 1)]
    log = Log(times=TIMES, rules_before={}, records=tuple(records))
    assert [one.sources[0].offset for one in replayed(log, 1, 6, 6)[0]] == [4]
    assert [one.notifications for one in replayed(log, 0, 1, 6)[0]] == [3]
    assert replayed(log, 0, 1, 2) == ([], 1)


def test_what_does_not_concern_a_replay_is_seen_as_the_time_it_came() -> None:
    records = [webhook(0, 5), webhook(1, 6, account="bolt"), webhook(2, 6, account="bolt"), webhook(3, 6)]
    assert ALL.see(records) is records
    seen = Selection(["acme"]).see(records)
    assert [(one.offset, one.timestamp, one.key) for one in seen] == [(0, 5, b"acme"), (1, 6, None), (3, 6, b"acme")]
    assert dict(seen[1].headers) == {CONTROL_HEADER: CONTROL_TICK}
