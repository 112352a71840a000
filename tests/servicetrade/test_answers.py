"""What ServiceTrade answers is read in every shape that has been seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from servicetrade.answers import entity_of, items_of, messages_of, read_body, retry_after_s, token_of, total_pages

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 0.5 ", 0.5),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 12:00:30 -0000", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("999999999", 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 1 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b"", ()),
        (b"<html>", ()),
        (b"[]", ()),
        (b'{"messages":null}', ()),
        (b'{"messages":{"success":["fine"]}}', ()),
        (b'{"messages":{"error":"one"}}', ("one",)),
        (b'{"messages":{"error":["one",""],"validation":["two"]}}', ("one", "two")),
        (b'{"messages":{"validation":{"a":["x","y"],"b":{"c":"z"}}}}', ("a: x", "a: y", "b: c: z")),
    ],
)
def test_messages_are_read_from_texts_arrays_and_objects(body: bytes, messages: tuple[str, ...]) -> None:
    assert messages_of(body) == messages


def test_an_empty_body_is_an_empty_envelope_and_anything_but_an_object_is_none() -> None:
    assert read_body(b" \n") == {}
    for body in (b"[]", b"1", b"{"):
        with pytest.raises(ValueError, match=r".+"):
            read_body(body)


def test_an_entity_is_found_flat_and_compound() -> None:
    assert entity_of({"id": 1, "job": {"id": 2}}, "job") == {"id": 1, "job": {"id": 2}}
    assert entity_of({"locations": [], "job": {"id": 2}}, "job") == {"id": 2}
    nothing: list[Any] = [None, [], {}, {"job": 3}, {"job": {}}, {"location": {"id": 2}}]
    for data in nothing:
        assert entity_of(data, "job") is None


def test_items_are_found_under_their_key_or_in_the_only_array() -> None:
    assert items_of({"Jobs": [{"id": 1}], "locations": [{"id": 2}]}, "jobs") == [{"id": 1}]
    assert items_of({"other": [{"id": 1}]}, None) == [{"id": 1}]
    assert items_of({"a": [], "b": []}, "jobs") is None
    assert items_of(None, "jobs") is None


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        ({"totalPages": 3}, 3),
        ({"totalPages": "3"}, 3),
        ({"totalPages": "three"}, 1),
        ({"totalPages": True}, 1),
        ({"totalPages": 0}, 1),
        (None, 1),
    ],
)
def test_a_missing_or_invalid_page_count_is_one(data: Any, pages: int) -> None:
    assert total_pages(data) == pages


@pytest.mark.parametrize(
    ("data", "cookies", "token"),
    [
        ({"authToken": " abc\n"}, [], "abc"),
        ({"authToken": None}, ["a=1", "PHPSESSID=def; path=/", "PHPSESSID=ghi"], "def"),
        ({"authToken": "a;b"}, ["PHPSESSID=def"], "def"),
        (None, ["XPHPSESSID=abc"], None),
        ({}, ["PHPSESSID=; path=/"], None),
    ],
)
def test_the_token_is_the_bodys_or_the_session_cookies(data: Any, cookies: list[str], token: str | None) -> None:
    assert token_of(data, cookies) == token
