"""How dead letters are shown."""

from __future__ import annotations

import json

import pytest

from sinks.letter_view import (
    HEX_BYTES,
    about,
    absence,
    as_json,
    as_row,
    facts,
    shown_value,
)
from sinks.letters import LetterId, Shelf, Wanted
from tests.sinks.letter_making import letter_record, reason

NOW_MS = 1_700_000_060_000


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (b"", "empty", ""),
        (b'{"b":1,"a":[1.0,"\xc3\xbc"]}', "22 bytes, JSON", '{\n  "b": 1,\n  "a": [\n    1.0,\n    "ü"\n  ]\n}'),
        (b"7", "1 byte, JSON", "7"),
        (b"[" * 99 + b"]" * 99, "198 bytes, text", "[" * 99 + "]" * 99),
        ("naïve\r\n\x1b[31m".encode(), "13 bytes, text", "naïve\\r\n\\x1b[31m"),
        (b"\xff\x00A", "3 bytes", "00000000  " + f"{'ff 00 41':<48}" + " ..A"),
    ],
)
def test_bytes_are_shown_as_json_else_as_text_else_in_hexadecimal(value: bytes, kind: str, text: str) -> None:
    assert shown_value(value) == (kind, text)


def test_of_many_unreadable_bytes_the_first_are_shown() -> None:
    kind, text = shown_value(b"\xff" * 100_000)
    assert kind == "the first 4,096 of 100,000 bytes"
    assert len(text.splitlines()) * 16 == HEX_BYTES


def test_a_row_has_one_entity_and_no_long_message() -> None:
    letter = reason(message="x" * 300, redrives=2, stage="forward/\x1b")
    data = [{"entity": {"type": "job", "id": number}} for number in range(3)]
    row = as_row(LetterId(3, 17), letter, letter_record(letter, key=b"acme", value=json.dumps({"data": data}).encode()))
    assert (row[0], row[2], row[3], row[4]) == ("3:17", "forward/\\x1b", "acme", "job/0 +2")
    assert (row[6], row[7], len(row[8])) == ("2", "2", 100)
    letter = reason(message="short")
    row = as_row(LetterId(3, 17), letter, letter_record(letter, key=b"\xff", value=b""))
    assert (row[3], row[4], row[7], row[8]) == ("-", "-", "-", "short")
    assert about(letter, letter_record(letter, key=None)) == "-"


def test_a_letter_as_json_says_all_but_its_bytes() -> None:
    letter = reason(elements="1")
    told = as_json(LetterId(3, 17), letter, letter_record(letter), "open")
    assert json.loads(json.dumps(told)) == {
        "letter": "3:17",
        "state": "open",
        "stage": "mirror",
        "account": "acme",
        "entities": ["job/1"],
        "error": "Reject",
        "message": "no permission",
        "attempts": 2,
        "redrives": 0,
        "first_failure_ms": 1_700_000_000_000,
        "last_failure_ms": 1_700_000_060_000,
        "topic": "servicetrade.changes",
        "partition": 3,
        "offset": 55,
        "elements": "1",
    }


def test_the_facts_name_what_failed_where_it_comes_from_and_every_header_of_the_original() -> None:
    letter = reason(stage="processors", elements="1,3", redrives=2)
    headers = (("tradewind-receipt", b"r-1"), ("odd", b"\xff\x00"), ("none", None))
    found = list(facts(letter, letter_record(letter, key=b"acme", headers=headers), NOW_MS))
    told = dict(found)
    assert told["elements"] == "1,3 of the webhook's data; the others went on"
    assert told["redriven"] == "2 times before"
    assert told["original"] == "servicetrade.changes[3] offset 55"
    assert told["first failure"].endswith(", 1 min ago")
    assert [value for name, value in found if name == "header"] == [
        "tradewind-receipt: r-1",
        "odd: \\xff\x00",
        "none: (null)",
    ]
    whole = dict(facts(reason(stage="processors"), letter_record(reason(), key=None), NOW_MS))
    assert (whole["elements"], whole["key"], whole["redriven"]) == ("the whole record", "(none)", "never before")
    assert whole["account"] == "none: the key names no account"
    assert "elements" not in dict(facts(reason(), letter_record(reason()), NOW_MS))


def test_a_letter_that_is_not_there_is_told_with_why() -> None:
    shelf = Shelf(1, 5, Wanted())
    shelf.put([letter_record(reason(), offset=5)])
    assert absence([shelf], LetterId(1, 5)) is None
    assert "no partition 2" in (absence([shelf], LetterId(2, 5)) or "")
    assert "retention" in (absence([shelf], LetterId(1, 4)) or "")
    assert "`tradewind deadletters list`" in (absence([shelf], LetterId(1, 6)) or "")
