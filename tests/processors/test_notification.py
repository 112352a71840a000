"""Reading webhook bodies: never an error, every element accounted for, every known shape understood."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.notification import MAX_ID, Notification, Unreadable, Webhook, parse
from tests.processors.running import element
from tests.processors.strategies import BAD_ELEMENTS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries(
    {
        "entity": st.fixed_dictionaries({"type": st.sampled_from(["job", "Job", "", 1]) | JSON, "id": JSON}) | JSON,
        "action": st.sampled_from(["created", "Updated", "deleted", "moved"]),
    },
    optional={"timestamp": JSON, "userId": JSON, "changeset": JSON},
)


def read(*elements: Any, **message: Any) -> Webhook:
    body = {"messageId": "m-1", "timestamp": 77, "data": list(elements), **message}
    return parse(json.dumps(body).encode(), appended_ms=12_345)


def one(item: Any, **message: Any) -> Notification:
    webhook = read(item, **message)
    assert webhook.unreadable == []
    return webhook.notifications[0]


def fault(item: Any) -> Unreadable:
    webhook = read(item)
    assert webhook.notifications == []
    return webhook.unreadable[0]


def whole(body: bytes) -> str:
    webhook = parse(body, appended_ms=0)
    (unreadable,) = webhook.unreadable
    assert (unreadable.index, webhook.notifications) == (None, [])
    assert webhook.message_id == "sha256:" + hashlib.sha256(body).hexdigest()
    return unreadable.error


@settings(max_examples=150)
@given(body=st.binary(max_size=200))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    webhook = parse(body, appended_ms=1)
    assert webhook.message_id


@settings(max_examples=150)
@given(elements=st.lists(NEARLY | JSON, max_size=6), rest=st.dictionaries(st.text(max_size=9), JSON, max_size=3))
def test_every_element_ends_up_in_exactly_one_of_the_two_lists(elements: list[Any], rest: dict[str, Any]) -> None:
    # Python writes NaN and infinities, which are not JSON: then the whole body is unreadable.
    body = json.dumps({**rest, "data": elements}).encode()
    webhook = parse(body, appended_ms=1)
    if [item.index for item in webhook.unreadable] == [None]:
        assert webhook.notifications == []
        assert b"NaN" in body or b"Infinity" in body
    else:
        indices = [item.index for item in webhook.notifications] + [item.index for item in webhook.unreadable]
        assert sorted(index for index in indices if index is not None) == list(range(len(elements)))


def test_what_is_not_json_is_unreadable_as_a_whole() -> None:
    assert whole(b"") == "not-json"
    assert whole(b"{") == "not-json"
    assert whole(b'{"data": [NaN]}') == "not-json"
    assert whole(b'{"data": ["\xff"]}') == "not-json"
    assert whole(b"\xef\xbb\xbf{}") == "not-json"


def test_a_mebibyte_of_nesting_is_unreadable_as_a_whole() -> None:
    assert whole(b"[" * 2**20) == "not-json"
    assert whole(b'{"data":' + b"[" * 2**19 + b"]" * 2**19 + b"}") == "not-json"


@pytest.mark.parametrize("body", [b"null", b"true", b"7", b"1.5", b'"data"', b'[{"data":[]}]'])
def test_a_body_that_is_no_object_is_unreadable_as_a_whole(body: bytes) -> None:
    assert whole(body) == "not-an-object"


@pytest.mark.parametrize("body", [b"{}", b'{"data":null}', b'{"data":{}}', b'{"data":"[]"}', b'{"data":0}'])
def test_a_body_without_an_array_data_is_unreadable_as_a_whole(body: bytes) -> None:
    assert whole(body) == "no-data"


def test_an_empty_batch_holds_nothing() -> None:
    assert read() == Webhook("m-1")


def test_ten_thousand_elements_are_ten_thousand_notifications() -> None:
    webhook = read(*(element(number) for number in range(10_000)))
    assert [item.entity_id for item in webhook.notifications] == list(range(10_000))


def test_good_and_bad_elements_are_told_apart() -> None:
    webhook = read(element(1), *BAD_ELEMENTS, element(2))
    assert [item.index for item in webhook.notifications] == [0, len(BAD_ELEMENTS) + 1]
    assert [item.index for item in webhook.unreadable] == list(range(1, len(BAD_ELEMENTS) + 1))


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        (7, "element-not-an-object", "the element is a number"),
        ([], "element-not-an-object", "the element is an array"),
        ({**element(), "entity": "job"}, "bad-entity", "entity is a string"),
        ({"action": "updated"}, "bad-entity", "entity is null or absent"),
        (element(entity_type="job/1"), "bad-entity-type", "entity.type is 'job/1'"),
        (element(entity_type="job\n"), "bad-entity-type", "entity.type is 'job\\n'"),
        (element(entity_type="j" * 65), "bad-entity-type", "entity.type is 'jjj"),
        ({**element(), "entity": {"type": {}, "id": 1}}, "bad-entity-type", "entity.type is an object"),
        (element(action="moved"), "bad-action", "action is 'moved'"),
        ({**element(), "action": None}, "bad-action", "action is null or absent"),
        (element(timestamp=True), "bad-timestamp", "timestamp is True"),
        (element(timestamp="-5"), "bad-timestamp", "timestamp is '-5'"),
        (element(timestamp=1.5), "bad-timestamp", "timestamp is 1.5"),
        (element(userId="me"), "bad-user", "userId is 'me'"),
        (element(userId=[1]), "bad-user", "userId is an array"),
    ],
)
def test_an_unreadable_element_says_what_is_wrong(bad: Any, error: str, said: str) -> None:
    unreadable = fault(bad)
    assert unreadable.error == error
    assert unreadable.message.startswith(said)


@pytest.mark.parametrize("given_id", [0, 1, "1", "0007", MAX_ID, str(MAX_ID)])
def test_an_id_is_an_integer_or_a_string_of_digits(given_id: Any) -> None:
    assert one(element(given_id)).entity_id == int(given_id)


@pytest.mark.parametrize(
    "given_id",
    [None, True, -1, 1.0, "", " 1", "+1", "-1", "1_0", "٣", "²", "1" * 20, MAX_ID + 1, str(MAX_ID + 1), 2**64, [], {}],
)
def test_anything_else_is_no_id(given_id: Any) -> None:
    assert fault(element(given_id)).error == "bad-entity-id"


def test_an_element_without_an_id_is_unreadable() -> None:
    assert fault({"entity": {"type": "job"}, "action": "updated"}).error == "bad-entity-id"


def test_types_and_actions_are_read_in_any_case_and_unknown_types_are_data() -> None:
    notification = one(element(action="CREATED", entity_type="ServiceRequest"))
    assert (notification.entity_type, notification.action) == ("servicerequest", "created")
    assert one(element(entity_type="hover-board_2.x")).entity_type == "hover-board_2.x"


def test_a_timestamp_is_an_integer_or_a_string_of_digits() -> None:
    assert one(element(timestamp="1401833052")).at == 1_401_833_052
    assert one(element(timestamp=-MAX_ID)).at == -MAX_ID


@pytest.mark.parametrize(
    ("message_timestamp", "at"), [("1401833057", 1_401_833_057), (-3, -3), (None, 12), ("soon", 12), (False, 12)]
)
def test_without_a_timestamp_the_messages_holds_and_without_that_the_append_time(
    message_timestamp: Any, at: int
) -> None:
    bare = element()
    del bare["timestamp"]
    assert one(bare, timestamp=message_timestamp).at == at
    assert one(element(timestamp=None), timestamp=message_timestamp).at == at


def test_a_user_may_be_null_absent_a_number_or_digits() -> None:
    assert [one(element(**more)).user_id for more in ({}, {"userId": None}, {"userId": 4}, {"userId": "4"})] == [
        None,
        None,
        4,
        4,
    ]


ENTRY = {"field": "status", "oldValue": "a", "newValue": "b"}


@pytest.mark.parametrize(
    ("changeset", "entries", "complete"),
    [
        (None, (), False),
        ([], (), False),
        ({}, (), False),
        ("status", (), False),
        (3, (), False),
        (ENTRY, (("status", "a", "b"),), True),
        ([ENTRY], (("status", "a", "b"),), True),
        ([{"field": "x"}], (("x", None, None),), True),
        ([ENTRY, {"field": "status"}], (("status", "a", "b"), ("status", None, None)), True),
        ([ENTRY, 7], (("status", "a", "b"),), False),
        ([ENTRY, {"field": 7}], (("status", "a", "b"),), False),
    ],
)
def test_a_changeset_may_be_absent_null_an_object_or_an_array(
    changeset: Any, entries: tuple[Any, ...], complete: bool
) -> None:
    notification = one(element(changeset=changeset))
    assert (tuple(notification.changeset), notification.changeset_complete) == (entries, complete)


@pytest.mark.parametrize("action", ["created", "deleted"])
def test_only_an_update_needs_a_changeset_to_be_complete(action: str) -> None:
    assert one(element(action=action)).changeset_complete


@pytest.mark.parametrize("message_id", [None, "", 5, ["m"]])
def test_without_a_message_id_the_hash_of_the_body_stands_in(message_id: Any) -> None:
    body = json.dumps({"messageId": message_id, "data": []}).encode()
    assert parse(body, appended_ms=0).message_id == "sha256:" + hashlib.sha256(body).hexdigest()


def test_only_the_elements_asked_for_are_looked_at() -> None:
    body = json.dumps({"data": [element(1), 7, element(3), 8]}).encode()
    webhook = parse(body, appended_ms=0, only={1, 2, 99})
    assert [item.index for item in webhook.notifications] == [2]
    assert [item.index for item in webhook.unreadable] == [1]
