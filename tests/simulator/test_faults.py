"""What a fault is and which one strikes a request, without any socket."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from servicetrade.simulator.fault_list import FaultList
from servicetrade.simulator.faults import Fault, On, read


def never() -> float:
    raise AssertionError("nothing is to be drawn for a fault that always strikes")


def placed(*faults: dict[str, Any]) -> FaultList:
    found = FaultList()
    for id_, fields in enumerate(faults, 1):
        found.add(id_, read(fields))
    return found


def struck_by(found: FaultList, on: On, method: str, path: str) -> int | None:
    one = found.strike(on, method, path, never)
    return None if one is None else one.id


BAD: tuple[tuple[object, str], ...] = (
    ("login", "expected an object, got 'login'"),
    ({}, "on: one of login, auth, resource is required"),
    ({"on": "job"}, "on: expected one of login, auth, resource, got 'job'"),
    ({"on": ["login"]}, "on: expected one of"),
    ({"on": "login", "fail_status": 503}, "fail_status: no such field; a fault has on, method,"),
    ({"on": "login", "method": 1}, "method: expected an HTTP method"),
    ({"on": "login", "method": "GET"}, "method: a login is a POST"),
    ({"on": "auth", "method": "POST"}, "method: a login is a POST"),
    ({"on": "resource", "method": "get"}, "method: a login is a POST"),
    ({"on": "resource", "path": "/job"}, "path: expected a path below /api without a leading slash"),
    ({"on": "resource", "path": ""}, "path: expected a path"),
    ({"on": "login", "path": "job"}, "path: that of login and auth is always auth"),
    ({"on": "login", "times": 0}, "times: expected a count from 1, or null, got 0"),
    ({"on": "login", "times": True}, "times: expected a count"),
    ({"on": "login", "ratio": 1.01}, "ratio: expected a number from 0 to 1"),
    ({"on": "login", "ratio": float("nan")}, "ratio: expected a number from 0 to 1"),
    ({"on": "login", "ratio": True}, "ratio: expected a number from 0 to 1"),
    ({"on": "login", "delay_s": -1}, "delay_s: expected seconds from 0 to 86400"),
    ({"on": "login", "delay_s": float("inf")}, "delay_s: expected seconds"),
    ({"on": "login", "delay_s": "1"}, "delay_s: expected seconds"),
    ({"on": "login", "hold": 1}, "hold: expected true or false, got 1"),
    ({"on": "login", "status": 199}, "status: expected a status from 200 to 599, or null"),
    ({"on": "login", "status": 600}, "status: expected a status"),
    ({"on": "login", "status": "503"}, "status: expected a status"),
    ({"on": "login", "status": 429, "retry_after": -1}, "retry_after: expected seconds, the text of a header"),
    ({"on": "login", "status": 429, "retry_after": "a\r\nb"}, "retry_after: expected seconds"),
    ({"on": "login", "status": 429, "headers": {"a b": "c"}}, "headers: expected an object of header names"),
    ({"on": "login", "status": 429, "headers": {"a": 1}}, "headers: expected an object"),
    ({"on": "login", "status": 429, "headers": None}, "headers: expected an object"),
    ({"on": "login", "status": 429, "headers": {"Content-Length": "1"}}, "headers: content-length and transfer-enc"),
    ({"on": "login", "status": 429, "body": {}}, "body: expected text or null"),
    ({"on": "login", "status": 204, "body": "x"}, "body: an answer of status 204 or 304 has none"),
    ({"on": "login", "retry_after": 1}, "retry_after, headers, body: they need a status"),
    ({"on": "login", "reset": True, "body": ""}, "retry_after, headers, body: they need a status"),
    ({"on": "login", "malformed": True, "headers": {"a": "b"}}, "retry_after, headers, body: they need a status"),
    ({"on": "login", "status": 500, "reset": True}, "status, reset, malformed: at most one of them"),
    ({"on": "login", "malformed": True, "reset": True}, "status, reset, malformed: at most one of them"),
    ({"on": "login", "processed": True}, "processed: it needs a wait, or what replaces the answer"),
    ({"on": "login", "kill_session": True, "status": 503}, "kill_session: a login that is answered without being"),
)


@pytest.mark.parametrize(("value", "sentence"), BAD, ids=lambda value: str(value)[:70])
def test_a_fault_that_makes_no_sense_is_refused_with_a_sentence(value: object, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is compared below
        read(value)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    "fields",
    [
        {"on": "login", "method": "POST", "path": "auth", "times": None, "status": None, "retry_after": None},
        {"on": "auth", "method": "DELETE", "path": "au*", "kill_session": True},
        {"on": "resource", "status": 200, "headers": {"X-Any": "caf\xe9"}, "body": "<html>", "retry_after": "soon"},
        {"on": "resource", "status": 304, "body": ""},
        {"on": "resource", "kill_session": True, "reset": True, "ratio": 0, "delay_s": 0.5, "hold": True},
        {"on": "login", "kill_session": True, "reset": True, "processed": True},
        {"on": "login", "processed": True, "hold": True},
        {"on": "login", "processed": True, "delay_s": 1},
    ],
    ids=str,
)
def test_a_fault_is_listed_with_the_fields_it_was_placed_with(fields: dict[str, Any]) -> None:
    (listed,) = placed(fields).as_json()
    assert fields.items() <= listed.items()
    assert (listed["id"], listed["struck"]) == (1, 0)
    del listed["id"], listed["struck"]
    # What is listed can be placed again.
    assert read(listed) == read(fields)


def test_a_fault_strikes_only_what_it_is_on() -> None:
    kinds: tuple[On, ...] = ("login", "auth", "resource")
    for on, asked in itertools.product(kinds, kinds):
        method = "POST" if on == "login" else "GET"
        assert struck_by(placed({"on": on}), asked, method, "auth") == (1 if on == asked else None)


def test_method_and_path_narrow_a_fault_down() -> None:
    found = placed(
        {"on": "resource", "path": "job/13"},
        {"on": "resource", "method": "POST", "path": "job"},
        {"on": "resource", "path": "quote/*"},
    )
    asked = [
        ("GET", "job/13"),
        ("PUT", "job/13"),
        ("GET", "job/131"),
        ("POST", "job"),
        ("GET", "job"),
        ("GET", "quote"),
        ("GET", "quote/1"),
        ("POST", "quote/1/item"),
        ("GET", "QUOTE/1"),
    ]
    assert [struck_by(found, "resource", *one) for one in asked] == [1, 1, None, 2, None, None, 3, 3, None]
    assert [one["struck"] for one in found.as_json()] == [2, 1, 2]


def test_the_first_fault_with_times_left_applies_and_a_used_up_one_stays_listed() -> None:
    found = placed(
        {"on": "login", "status": 429, "times": 2},
        {"on": "login", "times": 1},
        {"on": "login", "status": 503},
    )
    assert [struck_by(found, "login", "POST", "auth") for _ in range(5)] == [1, 1, 2, 3, 3]
    assert [one["struck"] for one in found.as_json()] == [2, 1, 2]


def test_the_ratio_is_the_share_of_the_matching_requests_and_the_spared_ones_meet_the_next_fault() -> None:
    found = placed({"on": "resource", "ratio": 0.3}, {"on": "resource", "ratio": 0.5})
    rng, twin = random.Random(7), random.Random(7)
    strikes = [found.strike("resource", "GET", "job", rng.random) for _ in range(300)]

    def expected() -> int | None:
        if twin.random() < 0.3:
            return 1
        return 2 if twin.random() < 0.5 else None

    assert [one and one.id for one in strikes] == [expected() for _ in range(300)]
    assert {one and one.id for one in strikes} == {1, 2, None}


def test_a_ratio_of_nothing_never_strikes_and_uses_up_no_times() -> None:
    found = placed({"on": "login", "ratio": 0, "times": 1})
    assert [found.strike("login", "POST", "auth", lambda: 0.0) for _ in range(3)] == [None] * 3
    assert found.as_json()[0]["struck"] == 0


def test_faults_are_cleared_one_by_one_or_together() -> None:
    found = placed({"on": "login"}, {"on": "auth"}, {"on": "resource"})
    assert (found.clear(2), found.clear(2), found.clear(9)) == (1, 0, 0)
    assert [one["id"] for one in found.as_json()] == [1, 3]
    assert [id_ in found for id_ in (1, 2, 3)] == [True, False, True]
    assert found.clear() == 2
    assert found.as_json() == []


def test_a_fault_that_makes_no_sense_cannot_be_built_in_code_either() -> None:
    with pytest.raises(ValueError, match="at most one"):
        Fault(on="login", reset=True, malformed=True)
