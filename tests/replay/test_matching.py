"""Two runs over one log are matched as somebody would who has both whole results before him."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.consolidator import Consolidator
from processors.rules import read_rules
from replay.matching import Kind, Match, Matcher, differing, share
from replay.selection import Selection
from replay.walk import Bounds
from schemas.change import EntityChange
from schemas.record import LogRecord
from tests.processors.running import core_for, core_with, element, tick, webhook
from tests.processors.strategies import ACCOUNTS, Dice, Log, logs, some_rules
from tests.replay.running import offset_at

FIXED = Selection(fixed_rules=True)
Told = tuple[Kind, tuple[str, ...], tuple[str, ...]]


def told(match: Match) -> Told:
    return match.kind, tuple(one.sequence for one in match.then), tuple(one.sequence for one in match.now)


def streamed(
    then: Consolidator, now: Consolidator, records: Sequence[LogRecord], bounds: Bounds, batch: int
) -> Counter[Told]:
    """What the matcher tells, fed as a replay does."""
    matcher, found = Matcher(bounds), Counter[Told]()
    for start in range(0, len(records), batch):
        part = records[start : start + batch]
        touched = matcher.add(then.feed(part).changes, now.feed(FIXED.see(part)).changes)
        found.update(told(match) for match in matcher.settled(touched, then, now))
    assert not matcher.waiting()
    return found


def naively(then: Sequence[EntityChange], now: Sequence[EntityChange], bounds: Bounds) -> Iterator[Told]:
    """Groups of everything that shares a source, found by merging sets until nothing changes."""
    sides = [(0, one) for one in then] + [(1, one) for one in now]
    groups = [
        ({(one.key, source.offset, source.index) for source in one.sources}, [(side, one)]) for side, one in sides
    ]
    while pair := next(((a, b) for a, b in combinations(range(len(groups)), 2) if groups[a][0] & groups[b][0]), None):
        sources, members = groups.pop(pair[1])
        groups[pair[0]] = groups[pair[0]][0] | sources, groups[pair[0]][1] + members
    for _, members in groups:
        if any(bounds.first <= int(one.sequence.split("-")[1]) < bounds.second for _, one in members):
            of = [
                sorted((one for side, one in members if side == which), key=lambda one: one.sequence)
                for which in (0, 1)
            ]
            yield told(Match(tuple(of[0]), tuple(of[1])))


@settings(max_examples=150)
@given(log=logs(), data=st.data(), choice=st.binary(min_size=24, max_size=24), batch=st.integers(1, 6))
def test_what_two_runs_make_of_a_log_is_matched_as_it_would_be_by_hand(
    log: Log, data: st.DataObject, choice: bytes, batch: int
) -> None:
    first, second = sorted(data.draw(st.integers(0, len(log.records))) for _ in range(2))
    bounds = Bounds(offset_at(log, first), offset_at(log, second))
    dice, largest = Dice(choice), log.times.max_ceiling_ms
    rules = {
        name: read_rules(some_rules(dice, max(1, largest // 20), log.times), max_ceiling_ms=largest)
        for name in ACCOUNTS
    }
    # The end of time: everything closes.
    end = max(record.timestamp for record in log.records) + 2 * largest
    records = (*log.records, tick(log.records[-1].offset + 1, end))
    whole_then = core_for(log).feed(records).changes
    whole_now = core_for(log, rules).feed(FIXED.see(records)).changes
    if any(one.notifications > len(one.sources) for one in (*whole_then, *whole_now)):
        return
    expected = Counter(naively(whole_then, whole_now, bounds))
    assert streamed(core_for(log), core_for(log, rules), records, bounds, batch) == expected


def both(records: Sequence[LogRecord], **rule: object) -> list[Match]:
    """The built-in rules against one."""
    then, now = core_with(), core_with(rule)
    matcher = Matcher(Bounds(0, 1_000_000))
    touched = matcher.add(then.feed(records).changes, now.feed(records).changes)
    return list(matcher.settled(touched, then, now))


BURSTS = [
    webhook(0, 0, element(changeset=[{"field": "due", "oldValue": 1, "newValue": 2}])),
    webhook(1, 3_000, element(userId=7)),
    tick(2, 60_000),
]


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [
        ({}, ["same", "same"]),
        ({"keep": False}, ["vanish", "vanish"]),
        ({"quiet_ms": 5_000}, ["merge"]),
        ({"ignore_users": [7]}, ["same", "vanish"]),
        ({"actions": ["deleted"]}, ["vanish", "vanish"]),
        ({"fields": ["status"]}, ["vanish", "same"]),
    ],
)
def test_what_becomes_of_two_bursts_of_one_entity(rule: dict[str, object], kinds: list[Kind]) -> None:
    assert [match.kind for match in both(BURSTS, **rule)] == kinds


def test_more_waiting_seen_from_the_other_side_is_a_split() -> None:
    (match,) = both(BURSTS, quiet_ms=5_000)
    assert Match(match.now, match.then).kind == "split"


def test_a_change_that_lost_a_notification_is_altered_and_tells_where() -> None:
    records = [webhook(0, 0, element(userId=1)), webhook(1, 500, element(userId=7)), tick(2, 60_000)]
    (match,) = both(records, ignore_users=[7])
    assert match.kind == "alter"
    assert differing(match.then[0], match.now[0]) == ["users", "notifications", "sources"]


def test_what_is_true_for_one_run_and_1_for_the_other_differs() -> None:
    def change(new: object) -> EntityChange:
        entry = {"field": "x", "oldValue": None, "newValue": new}
        (made,) = core_with().feed([webhook(0, 0, element(changeset=entry)), tick(1, 60_000)]).changes
        return made

    assert differing(change(True), change(1)) == ["changeset"]
    assert differing(change(1), change(1)) == []


def test_windows_of_more_notifications_than_are_listed_match_if_they_overlap_in_time() -> None:
    many = [webhook(offset, offset * 100, element(userId=offset % 2)) for offset in range(80)]
    records = [*many, tick(80, 60_000)]
    (big,) = core_with().feed(records).changes
    late = core_with({"ceiling_ms": 2_000}).feed(records).changes
    assert len(big.sources) < big.notifications == 80
    assert all(share(big, one) and share(one, big) for one in late)
    (after,) = core_with().feed([webhook(90, 90_000), tick(91, 190_000)]).changes
    assert not share(big, after)
    assert [match.kind for match in both(records, ceiling_ms=2_000)] == ["split"]


def test_nothing_is_told_while_a_window_that_may_belong_to_it_is_open() -> None:
    then, now, matcher = core_with(), core_with({"quiet_ms": 9_000}), Matcher(Bounds(0, 10))
    for records, expected in (
        ([webhook(0, 0), tick(1, 5_000)], []),
        ([webhook(2, 6_000), tick(3, 12_000)], []),
        ([tick(4, 30_000)], ["merge"]),
    ):
        touched = matcher.add(then.feed(records).changes, now.feed(records).changes)
        assert [match.kind for match in matcher.settled(touched, then, now)] == expected
        assert matcher.waiting() == (0 if expected else 1 if records[0].offset == 0 else 2)
