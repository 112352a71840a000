"""Input that can be read must also be usable to the end: a record that crashes the core would crash it for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from processors.notification import MAX_ID
from processors.rules import read_rules
from schemas.change import cloud_event_headers, decode_change
from schemas.encoding import encode
from schemas.record import LogRecord
from schemas.topics import MAX_RECORD_BYTES
from tests.processors.running import core_with, element, tick, webhook
from tests.processors.strategies import RULES
from tests.processors.test_notification import JSON


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@settings(max_examples=80)
@given(value=JSON)
def test_any_value_in_a_changeset_comes_out_as_it_went_in(value: Any) -> None:
    core = core_with()
    item = element(changeset={"field": "note", "oldValue": value, "newValue": "something else"})
    changes = core.feed([webhook(0, 1_000, item), tick(1, 60_000)]).changes
    assert [decode_change(encode(change)) for change in changes] == changes


@pytest.mark.parametrize("levels", [101, 250, 252, 254, 255, 900])
def test_a_value_that_is_nested_too_deeply_to_be_written_again_is_passed_over(levels: int) -> None:
    core = core_with()
    body = (
        b'{"messageId":"m","data":[%b]}'
        % json.dumps(
            element(changeset=[{"field": "a", "newValue": 1}, {"field": "b", "newValue": nested(levels)}])
        ).encode()
    )
    record = LogRecord(offset=0, timestamp=1_000, key=b"acme", value=body)
    (change,) = core.feed([record, tick(1, 60_000)]).changes
    assert encode(change)
    assert ([item.name for item in change.changeset], change.changeset_complete) == (["a"], False)


def test_a_value_of_a_hundred_levels_is_kept() -> None:
    core = core_with()
    item = element(changeset={"field": "b", "newValue": nested(100)})
    (change,) = core.feed([webhook(0, 1_000, item), tick(1, 60_000)]).changes
    assert decode_change(encode(change)) == change
    assert change.changeset_complete


@pytest.mark.parametrize("at", [1_401_833_052_000, MAX_ID, -MAX_ID])
def test_a_timestamp_that_no_calendar_has_does_not_stop_the_change(at: int) -> None:
    # Milliseconds where seconds belong are a likely slip of a sender: the year 46392.
    core = core_with()
    (change,) = core.feed([webhook(0, 1_000, element(timestamp=at)), tick(1, 60_000)]).changes
    assert dict(cloud_event_headers(change))["ce_id"] == change.id.encode()


def test_null_is_no_list_of_users() -> None:
    with pytest.raises(ValueError, match=r"^default\.ignore_users is an array of int"):
        read_rules({"default": {"ignore_users": None}, "types": {}}, max_ceiling_ms=60_000)


@pytest.mark.parametrize("where", ["unknown", "actions", "fields"])
def test_rules_that_are_nested_deeply_are_quarantined(where: str) -> None:
    body = json.dumps({"default": {where: nested(400)}, "types": {}}).encode()
    record = LogRecord(offset=0, timestamp=1_000, key=b"acme", value=body, headers=RULES)
    ((_, letter),) = core_with().feed([record]).dead_letters
    assert letter.error == "bad-rules"


def test_a_value_that_is_long_is_passed_over_and_the_change_says_so() -> None:
    core = core_with()
    long, short = {"field": "a", "newValue": "x" * 10_000}, {"field": "b", "newValue": "x" * 9_998}
    (change,) = core.feed([webhook(0, 1_000, element(changeset=[long, short])), tick(1, 60_000)]).changes
    assert ([item.name for item in change.changeset], change.changeset_complete) == (["b"], False)


def test_the_largest_change_fits_into_a_record() -> None:
    core = core_with()
    value = '"' * 4_998  # escaped, it takes twice its length
    changeset = [
        {"field": f"{number:03}".ljust(200, "\x01"), "oldValue": value, "newValue": value + "x"}
        for number in range(256)
    ]
    message = {"messageId": "\x01" * 200, "data": [element(changeset=changeset)]}
    record = LogRecord(offset=0, timestamp=1_000, key=b"acme", value=encode(message))
    (change,) = core.feed([record, tick(1, 60_000)]).changes
    assert len(change.changeset) == 256
    assert len(encode(change)) < MAX_RECORD_BYTES / 2


def test_more_elements_than_a_body_could_hold_quarantine_the_whole_body() -> None:
    body = b'{"messageId": "m", "data": [' + b"1," * 100_000 + b"1]}"
    outcome = core_with().feed([LogRecord(offset=0, timestamp=1_000, key=b"acme", value=body)])
    ((_, letter),) = outcome.dead_letters
    assert (letter.error, letter.elements) == ("too-many-elements", "")


@pytest.mark.parametrize(("bad", "named"), [(1_000, ",".join(map(str, range(1_000)))), (1_001, "")])
def test_a_dead_letter_names_at_most_a_thousand_elements(bad: int, named: str) -> None:
    core = core_with()
    ((_, letter),) = core.feed([webhook(0, 1_000, *[5] * bad, element())]).dead_letters
    assert letter.elements == named
    assert core.ledger.quarantined == bad
    assert core.ledger.imbalance(core.open_notifications) == 0


def test_rules_for_a_type_that_could_never_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^types\.Job: no entity type is spelled so"):
        read_rules({"default": {}, "types": {"Job": {}}}, max_ceiling_ms=60_000)
