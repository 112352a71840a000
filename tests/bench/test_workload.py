"""The workload and what has to come out of it."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

from bench.check import judge
from bench.oracle import Piece, Window, expected
from bench.workload import CLOSING_TYPE, Posted, closing, generate

START_MS = 1_795_000_000_000
MANY = 5_000


def made(**more: int) -> list[Posted]:
    return list(generate(more.pop("notifications", MANY), start_ms=START_MS, span_s=30, **more))


def entity_of(one: Posted) -> tuple[str, str, int]:
    (element,) = json.loads(one.body)["data"]
    return one.account, element["entity"]["type"], element["entity"]["id"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() -> None:
    assert made() == made()
    assert made() != made(seed=2)


def test_there_are_exactly_as_many_notifications_as_asked_for_over_all_accounts() -> None:
    for many in (1, 7, MANY):
        assert len(made(notifications=many)) == many
    assert len({one.account for one in made()}) == 50


def test_a_body_is_a_webhook_of_one_notification_and_about_360_bytes() -> None:
    bodies = [one.body for one in made()]
    assert 320 <= sum(map(len, bodies)) / MANY <= 400
    message = json.loads(bodies[0])
    assert message.keys() == {"messageId", "timestamp", "data"}
    assert {"action", "timestamp", "userId", "entity"} <= message["data"][0].keys()


def test_no_message_id_comes_twice() -> None:
    assert len({json.loads(one.body)["messageId"] for one in made()}) == MANY


def test_timestamps_never_run_backwards() -> None:
    times = [one.timestamp_ms for one in made()]
    assert times == sorted(times)
    assert times[0] >= START_MS


def test_an_entity_has_bursts_of_one_to_eight_with_rests_between_them() -> None:
    times = defaultdict(list)
    for one in made():
        times[entity_of(one)].append(one.timestamp_ms)
    gaps = [later - earlier for found in times.values() for earlier, later in pairwise(found)]
    assert all(gap <= 600 or gap >= 5_000 for gap in gaps)
    counts = {window.count for window in expected(made())}
    assert counts == set(range(1, 9))


def test_bursts_of_different_entities_are_interleaved() -> None:
    entities = [entity_of(one) for one in made()]
    assert sum(one != other for one, other in pairwise(entities)) > MANY * 0.9


def test_every_notification_is_in_one_expected_window() -> None:
    windows = expected(made())
    assert sum(window.count for window in windows) == MANY
    assert all(START_MS <= window.first_ms <= window.last_ms for window in windows)


def test_a_gap_longer_than_the_quiet_period_begins_a_new_window() -> None:
    one = made(notifications=1)[0]
    at_ms = one.timestamp_ms
    posted = [Posted(at_ms + step, one.account, one.body) for step in (0, 2_000, 4_001)]
    found = sorted((window.first_ms - at_ms, window.last_ms - at_ms, window.count) for window in expected(posted))
    assert found == [(0, 2_000, 2), (4_001, 4_001, 1)]


def test_closing_records_are_in_no_expected_window() -> None:
    posted = list(closing(at_ms=START_MS))
    assert {entity_of(one)[1] for one in posted} == {CLOSING_TYPE}
    assert not expected(posted)


def test_an_output_that_is_the_expected_one_is_right() -> None:
    windows = expected(made())
    verdict = judge(windows, [Piece(one.key, one.first_ms, one.last_ms, one.count) for one in windows])
    assert (verdict.right, verdict.split, verdict.lost) == (len(windows), 0, 0)


def test_missing_doubled_and_wrong_windows_are_found_out() -> None:
    wanted = [Window(f"a/job/{number}", 1_000, 2_000, 3) for number in range(4)]
    right, doubled, short = (Piece(one.key, one.first_ms, one.last_ms, one.count) for one in wanted[:3])
    verdict = judge(wanted, [right, doubled, doubled, Piece(short.key, 1_000, 1_500, 2)])
    assert (verdict.expected, verdict.right) == (4, 1)
    assert verdict.lost == 12 - (3 + 3 + 3 + 2)


def test_pieces_of_a_window_count_as_right_only_if_a_cut_split_it() -> None:
    window = Window("a/job/1", 1_000, 2_000, 3)
    later = Piece(window.key, 1_800, 2_000, 1)
    cut = judge([window], [Piece(window.key, 1_000, None, 2, is_cut=True), later])
    assert (cut.right, cut.split, cut.lost) == (1, 1, 0)
    assert judge([window], [Piece(window.key, 1_000, 1_700, 2), later]).right == 0
