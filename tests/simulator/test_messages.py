"""The bodies of messages, without any socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from servicetrade.simulator.messages import Oddity, encode
from servicetrade.simulator.switches import Switches, check
from servicetrade.simulator.world import Event, FieldChange

MOVED = Event(
    type="appointment",
    id=34872,
    action="updated",
    user_id=None,
    at=1401833052,
    changes=(FieldChange("status", "scheduled", "completed"), FieldChange("windowStart", 1, 2)),
)


def decoded(*, include: bool = True, oddity: Oddity | None = None, **switches: Any) -> dict[str, Any]:
    encoded = encode(
        [MOVED],
        message_id="m1",
        now=1401833057.9,
        include_changesets=include,
        switches=Switches().changed(switches),
        oddity=oddity,
    )
    message: dict[str, Any] = json.loads(encoded.body)
    assert encoded.elements == len(message["data"])
    return message


def test_the_documented_shape_has_a_string_time_outside_and_a_number_inside() -> None:
    assert decoded() == {
        "messageId": "m1",
        "timestamp": "1401833057",
        "data": [
            {
                "action": "updated",
                "timestamp": 1401833052,
                "userId": None,
                "entity": {
                    "type": "appointment",
                    "id": 34872,
                    "uri": "https://api.servicetrade.com/api/appointment/34872",
                },
                "changeset": [
                    {"field": "status", "oldValue": "scheduled", "newValue": "completed"},
                    {"field": "windowStart", "oldValue": 1, "newValue": 2},
                ],
            }
        ],
    }


def test_an_object_changeset_makes_one_element_for_each_field() -> None:
    elements = decoded(changesets="object")["data"]
    assert [element["changeset"]["field"] for element in elements] == ["status", "windowStart"]
    assert {element["entity"]["id"] for element in elements} == {34872}


@pytest.mark.parametrize(("include", "shape"), [(False, "array"), (False, "object"), (True, "absent")])
def test_no_changeset_is_sent_unless_wanted(include: bool, shape: str) -> None:
    (element,) = decoded(include=include, changesets=shape)["data"]
    assert "changeset" not in element


def test_a_changeset_can_be_null() -> None:
    assert decoded(changesets="null")["data"][0]["changeset"] is None


def test_mixed_changesets_take_every_shape() -> None:
    seen = set()
    for number in range(4):
        encoded = encode(
            [MOVED], message_id=f"m{number}", now=0, include_changesets=True, switches=Switches(changesets="mixed")
        )
        element = json.loads(encoded.body)["data"][0]
        seen.add(type(element["changeset"]).__name__ if "changeset" in element else "absent")
    assert seen == {"list", "dict", "NoneType", "absent"}


def test_ids_and_times_can_be_strings_or_numbers() -> None:
    strings = decoded(timestamps="string", entity_ids="string")
    assert strings["timestamp"] == "1401833057"
    assert strings["data"][0]["timestamp"] == "1401833052"
    assert strings["data"][0]["entity"]["id"] == "34872"
    assert decoded(timestamps="int")["timestamp"] == 1401833057


def test_a_poison_element_leaves_its_neighbours_whole() -> None:
    good, bad = decoded(oddity="poison_element")["data"]
    assert good == decoded()["data"][0]
    assert not (isinstance(bad, dict) and isinstance(bad["entity"], dict) and isinstance(bad["entity"]["id"], int))


def test_a_body_that_is_not_json_counts_no_elements() -> None:
    for number in range(3):
        encoded = encode(
            [], message_id=f"m{number}", now=0, include_changesets=True, switches=Switches(), oddity="not_json"
        )
        assert (encoded.elements, encoded.poison_body) == (0, True)
        with pytest.raises(ValueError, match=r"."):
            json.loads(encoded.body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", "round"),
        ("shape", ["flat"]),
        ("repeat_ratio", 1.5),
        ("repeat_ratio", True),
        ("no_such", 1),
    ],
)
def test_a_switch_that_makes_no_sense_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        check(name, value)
