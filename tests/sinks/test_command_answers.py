"""What answers and failures mean for a command, and what of them a result can hold."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.encoding import encode
from schemas.errors import (
    ApiError,
    ApiUnreachable,
    LoginRefused,
    LoginThrottled,
    LoginUnavailable,
    NotFound,
    PermissionDenied,
    Scope,
    ServiceTradeError,
    StoreError,
)
from sinks.command_answers import NothingHappened, Refused, Unknown, failure_of, matches
from sinks.command_result import MAX_ENTITY_BYTES, MAX_MESSAGE, MAX_MESSAGES, result_of
from tests.sinks.command_world import a_command


@pytest.mark.parametrize(
    ("error", "scope", "lasting", "after_s"),
    [
        (LoginRefused("no"), "account", True, None),
        (LoginUnavailable("busy", retry_after_s=3), "account", False, 3),
        (LoginThrottled("often", retry_after_s=9), "account", False, 9),
        (StoreError("locked"), "sink", False, None),
        (ApiUnreachable("refused", sent=False), "account", False, None),
        (ApiError(429, retry_after_s=7), "account", False, 7),
        (ApiError(401), "entity", False, None),
        (ApiError(425), "entity", False, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_without_a_request_that_was_taken_nothing_happened(
    error: ServiceTradeError | StoreError, scope: Scope, lasting: bool, after_s: float | None
) -> None:
    failure = failure_of(error)
    assert isinstance(failure, NothingHappened)
    assert (failure.retry.scope, failure.retry.lasting, failure.retry.after_s) == (scope, lasting, after_s)
    assert str(failure.retry) == str(error)


@pytest.mark.parametrize("error", [ApiError(400, ("bad",)), PermissionDenied(403, ("bad",)), NotFound(404, ("bad",))])
def test_a_refusal_is_final_and_says_why(error: ApiError) -> None:
    assert failure_of(error) == Refused(error.status, ("bad",))


@pytest.mark.parametrize(
    "error",
    [
        ApiUnreachable("reset"),
        *(ApiError(status, ("odd",), retry_after_s=2) for status in (200, 302, 408, 500, 503, 504)),
    ],
    ids=str,
)
def test_whatever_is_no_answer_of_the_api_leaves_the_fate_unknown(error: ServiceTradeError) -> None:
    failure = failure_of(error)
    assert isinstance(failure, Unknown)
    assert (failure.status, failure.retry.scope) == (getattr(error, "status", None), "entity")
    assert failure.retry.after_s == getattr(error, "retry_after_s", None)
    assert failure.messages == getattr(error, "messages", (str(error),))


@pytest.mark.parametrize(
    ("wanted", "matched"),
    [
        ({"name": "a"}, True),
        ({"name": "b"}, False),
        ({"name": "a", "location": {"id": 5}}, True),
        ({"location": {"id": 6}}, False),
        ({"location": 5}, False),
        ({"name": {"id": 5}}, False),
        ({"tags": ["x", "y"]}, True),
        ({"tags": ["x"]}, False),
        ({"nothing": None}, True),
        ({"absent": None}, False),
        ({"one": 1}, True),
        ({"one": 1.0}, True),
        ({"one": True}, False),
        ({}, True),
    ],
)
def test_an_item_is_the_wanted_one_if_all_that_is_named_is_equal(wanted: dict[str, Any], matched: bool) -> None:
    item = {"id": 1, "name": "a", "location": {"id": 5, "name": "b"}, "tags": ["x", "y"], "nothing": None, "one": 1}
    assert matches(item, wanted) is matched


def test_a_result_names_what_was_created() -> None:
    command = a_command("POST")
    assert result_of(command, "done", entity={"id": 12, "name": "wanted"}).entity_id == "12"
    assert result_of(command, "done", entity={"id": "12"}).entity_id == "12"
    assert result_of(command, "done", entity={"id": None}).entity_id is None
    assert result_of(command, "done").entity_id is None
    assert result_of(a_command("PUT"), "done", entity={"id": 12}).entity_id == "7"


def test_a_result_can_always_be_written() -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"id": 3, "in": deep}
    for entity, said in ((deep, "nested too deep"), ({"id": 3, "text": "x" * MAX_ENTITY_BYTES}, "1048")):
        result = result_of(a_command("POST"), "done", entity=entity)
        assert (result.entity_id, result.entity) == ("3", None)
        assert said in result.messages[0]
        encode(result)
    chatty = result_of(a_command("PUT"), "failed", messages=("x" * 10_000,) * 1_000)
    assert [len(text) for text in chatty.messages] == [MAX_MESSAGE] * MAX_MESSAGES
