"""The consolidator at its boundaries: time, control records, quarantine, rules, redriven webhooks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from processors.consolidator import Consolidator
from processors.rules import rules_version
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from tests.processors.running import ORIGIN, core_with, element, tick, webhook
from tests.processors.strategies import RULES

MAX_CEILING_MS = PipelineTimes().max_ceiling_ms


def rules_record(offset: int, timestamp: int, body: object, account: str = "acme") -> LogRecord:
    value = json.dumps(body).encode()
    return LogRecord(offset=offset, timestamp=timestamp, key=account.encode(), value=value, headers=RULES)


def test_a_fresh_consolidator_has_no_time_and_nothing_due() -> None:
    core = Consolidator(ORIGIN, PipelineTimes())
    assert (core.now_ms, core.next_due_ms(), core.open_windows) == (None, None, 0)


def test_a_record_before_the_partitions_time_is_taken_to_be_at_that_time() -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    core.feed([tick(0, 5_000), webhook(1, 5_000 - MAX_CEILING_MS)])
    (change,) = core.feed([tick(2, 6_000)]).changes
    assert (change.opened_ms, change.due_ms) == (5_000, 5_010)


def test_a_step_back_beyond_the_largest_ceiling_closes_everything_and_starts_time_anew() -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    late, early = webhook(0, 1_000_000, element(7)), webhook(1, 1_000_000, element(10), message_id="again")
    core.feed([late, early])
    back = replace(early, offset=2, timestamp=1_000_000 - MAX_CEILING_MS - 1)
    changes = core.feed([back]).changes
    assert [(change.subject, change.closed_by) for change in changes] == [("job/10", "clock"), ("job/7", "clock")]
    assert (core.ledger.duplicates, core.open_windows, core.now_ms) == (0, 1, back.timestamp)
    assert core.next_due_ms() == back.timestamp + 10


def test_a_tick_closes_what_is_due_and_is_no_webhook() -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    core.feed([webhook(0, 1_000)])
    assert core.feed([tick(1, 1_010)]).changes == []
    assert len(core.feed([tick(2, 1_011)]).changes) == 1
    assert core.ledger.webhooks == 1


def test_an_unknown_control_record_is_quarantined_and_still_moves_time() -> None:
    core = core_with()
    core.feed([webhook(0, 1_000)])
    odd = LogRecord(offset=1, timestamp=900_000, key=b"acme", headers=(("tradewind-control", b"dance"),))
    outcome = core.feed([odd])
    ((record, letter),) = outcome.dead_letters
    assert record is odd
    assert (letter.error, letter.elements, letter.first_failure_ms) == ("unknown-control", "", 900_000)
    assert (len(outcome.changes), core.ledger.notifications) == (1, 1)


def test_new_rules_close_the_accounts_windows_and_hold_from_there_on() -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    core.feed([webhook(0, 1_000), webhook(1, 1_000, account="acme-west")])
    body = {"default": {"quiet_ms": 50, "ceiling_ms": 60}, "types": {}}
    outcome = core.feed([rules_record(2, 1_001, body)])
    assert [(change.account, change.closed_by) for change in outcome.changes] == [("acme", "rules")]
    (adopted,) = outcome.rules
    assert (adopted.account, adopted.offset, adopted.version) == ("acme", 2, rules_version(body))
    assert adopted.rules == body
    core.feed([webhook(3, 1_002)])
    assert core.next_due_ms() == 1_052
    changes = core.feed([tick(4, 60_000)]).changes
    assert [(change.account, change.rules_version) for change in changes] == [
        ("acme", adopted.version),
        ("acme-west", "builtin"),
    ]


@pytest.mark.parametrize(
    ("key", "body"),
    [(b"acme", b"not json"), (b"acme", b'{"default":{}}'), (b"NO NAME", b'{"default":{},"types":{}}'), (b"\xff", b"")],
)
def test_what_is_no_rules_changes_nothing_and_is_quarantined(key: bytes, body: bytes) -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    core.feed([webhook(0, 1_000)])
    outcome = core.feed([LogRecord(offset=1, timestamp=1_001, key=key, value=body, headers=RULES)])
    assert (outcome.changes, outcome.rules, core.open_windows) == ([], [], 1)
    assert [letter.error for _, letter in outcome.dead_letters] == ["bad-rules"]


def test_bad_elements_are_named_and_their_neighbours_go_on() -> None:
    core = core_with()
    outcome = core.feed([webhook(0, 1_000, element(), {"entity": None}, element(2), 5)])
    ((_, letter),) = outcome.dead_letters
    assert letter.elements == "1,3"
    assert letter.message == "entity is null or absent (and 1 more elements)"
    assert (core.open_notifications, core.ledger.quarantined) == (2, 2)


def test_a_redriven_webhook_processes_only_the_elements_it_names() -> None:
    core = core_with()
    whole = webhook(0, 1_000, element(1), element(2), element(3))
    core.feed([replace(whole, headers=(("tradewind-elements", b"0,2"),))])
    assert (core.ledger.notifications, core.open_windows) == (2, 2)
    core.feed([replace(whole, offset=1)])
    assert (core.ledger.duplicates, core.open_windows) == (2, 3)


def redriven(record: LogRecord, *, to: bytes = b"processors", times: bytes = b"1", elements: bytes = b"") -> LogRecord:
    """As `tradewind deadletters redrive` sends it back."""
    named = (("tradewind-elements", elements),) if elements else ()
    return replace(record, headers=(*named, ("x-redrive-to", to), ("x-redrives", times)))


def test_redriven_elements_come_through_and_their_neighbours_are_not_looked_at_again() -> None:
    core = core_with()
    before = webhook(0, 1_000, element(1), element(2), message_id="same")
    records = [replace(before, headers=(("tradewind-elements", b"0"),))]  # as if 1 had not been readable then
    for offset, timestamp in ((1, 2_000), (2, 2_001 + PipelineTimes().horizon_ms)):
        records.append(redriven(replace(before, offset=offset, timestamp=timestamp), elements=b"1"))
    changes = core.feed([*records, tick(9, 10**9)]).changes
    assert (core.ledger.notifications, core.ledger.duplicates) == (3, 0)
    assert sum(change.notifications for change in changes if change.entity_id == "1") == 1
    assert sum(change.notifications for change in changes if change.entity_id == "2") == 2


def test_a_redrive_that_is_repeated_within_the_horizon_is_a_duplicate() -> None:
    core = core_with()
    whole = webhook(0, 1_000, element(1), element(2))
    core.feed([redriven(whole), redriven(replace(whole, offset=1, timestamp=1_500), elements=b"1")])
    assert (core.ledger.notifications, core.ledger.duplicates) == (3, 1)


def test_of_a_whole_body_that_is_redriven_what_was_fine_is_a_duplicate_only_within_the_horizon() -> None:
    horizon_ms = PipelineTimes().horizon_ms
    for later_ms, duplicates in ((horizon_ms, 1), (horizon_ms + 1, 0)):
        core = core_with()
        record = webhook(0, 1_000, *[5] * 1_001, element(1), message_id="same")
        ((_, letter),) = core.feed([record]).dead_letters
        assert letter.elements == ""
        core.feed([redriven(replace(record, offset=1, timestamp=1_000 + later_ms))])
        assert (core.ledger.duplicates, core.ledger.quarantined) == (duplicates, 2_002)


def test_what_fails_again_after_a_redrive_has_its_count_in_the_letter() -> None:
    core = core_with()
    bad = webhook(0, 1_000, element(1), 7, 8)
    records = [bad, redriven(replace(bad, offset=1), elements=b"1,2"), redriven(replace(bad, offset=2), times=b"12")]
    letters = [letter for _, letter in core.feed(records).dead_letters]
    assert [(letter.offset, letter.elements, letter.redrives) for letter in letters] == [
        (0, "1,2", 0),
        (1, "1,2", 1),
        (2, "1,2", 12),
    ]
    assert ["x-dlq-redrives" in dict(letter.headers()) for letter in letters] == [False, True, True]


@pytest.mark.parametrize("to", [b"mirror", b"forward/processors", b"", b"\xff"])
def test_a_record_that_was_redriven_to_somebody_else_moves_time_and_does_no_more(to: bytes) -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    core.feed([webhook(0, 1_000)])
    bad_rules = LogRecord(offset=2, timestamp=1_006, key=b"acme", value=b"", headers=RULES)
    strangers = [webhook(1, 1_005), bad_rules, replace(webhook(3, 1_011), value=b"\xff", key=None)]
    outcome = core.feed(
        replace(one, headers=(*one.headers, ("x-redrive-to", to), ("x-redrives", b"1"))) for one in strangers
    )
    assert (len(outcome.changes), outcome.dead_letters, outcome.rules) == (1, [], [])
    assert (core.ledger.webhooks, core.ledger.notifications, core.open_windows) == (1, 1, 0)


def test_quarantined_elements_do_not_count_as_seen() -> None:
    core = core_with()
    bad = webhook(0, 1_000, {"entity": None}, message_id="same")
    core.feed([bad, webhook(1, 1_001, element(), message_id="same")])
    assert (core.ledger.quarantined, core.ledger.duplicates, core.open_notifications) == (1, 0, 1)


@pytest.mark.parametrize("value", [b"", b"x", b"0,", b"1.5", b"\xff", b"9" * 5_000])
def test_a_record_whose_elements_header_is_no_list_is_quarantined_whole(value: bytes) -> None:
    core = core_with()
    record = replace(webhook(0, 1_000), headers=(("tradewind-elements", value),))
    ((_, letter),) = core.feed([record]).dead_letters
    assert (letter.error, letter.elements, core.ledger.quarantined) == ("bad-record", "", 1)


@pytest.mark.parametrize("key", [None, b"", b"Acme", b"a/b", b"-a", b"a" * 64, b"acme\n", b"\xff"])
def test_a_record_whose_key_is_no_account_name_is_quarantined_whole(key: bytes | None) -> None:
    core = core_with()
    ((_, letter),) = core.feed([replace(webhook(0, 1_000), key=key)]).dead_letters
    assert (letter.error, core.ledger.notifications, core.ledger.quarantined) == ("bad-record", 1, 1)


def test_other_headers_do_not_matter() -> None:
    core = core_with()
    core.feed([replace(webhook(0, 1_000), headers=(("tradewind-receipt", b"r-1"),))])
    assert core.open_notifications == 1


def test_messages_are_remembered_until_the_clock_steps_back() -> None:
    core = core_with()
    core.feed([webhook(0, 1_000_000), webhook(1, 1_000_000)])
    assert core.remembered_messages == 2
    core.feed([tick(2, 0)])
    assert core.remembered_messages == 0


def test_the_next_due_time_is_right_after_a_window_was_closed_out_of_turn() -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    body = {"default": {"quiet_ms": 30, "ceiling_ms": 100}, "types": {}}
    core.feed([webhook(0, 1_000), rules_record(1, 1_001, body)])
    assert core.next_due_ms() is None
    core.feed([webhook(2, 1_002), rules_record(3, 1_003, body), webhook(4, 1_004)])
    assert core.next_due_ms() == 1_034
    assert len(core.feed([tick(5, 1_035)]).changes) == 1
    assert core.next_due_ms() is None


def test_windows_close_in_the_order_of_due_time_and_key() -> None:
    core = core_with({"quiet_ms": 10, "ceiling_ms": 100})
    core.feed([webhook(0, 1_000, element(9), element(10)), webhook(1, 1_001, element(1))])
    assert [change.subject for change in core.feed([tick(2, 2_000)]).changes] == ["job/10", "job/9", "job/1"]
