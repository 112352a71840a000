"""Commands and results as other systems write and read them: the code and the published schema agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.command import Check, Command, CommandResult, decode_command, decode_result
from schemas.encoding import encode

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "json" / "Command.schema.json").read_text())

POST = {"id": "c-1", "account": "acme", "method": "POST", "entity_type": "job", "body": {"name": "x"}}
PUT = {**POST, "method": "PUT", "entity_id": "7"}
DELETE = {"id": "c-1", "account": "acme", "method": "DELETE", "entity_type": "job", "entity_id": "7"}
CHECK = {"params": {"createdAfter": 1, "all": True, "status": "*", "ids": [1, "2"]}, "equals": {"name": "x"}}

GOOD: list[dict[str, Any]] = [
    POST,
    PUT,
    DELETE,
    {**POST, "entity_id": None, "not_after": None, "check": None},
    {**POST, "not_after": 1_700_000_000, "check": CHECK},
    {**POST, "check": {"equals": {"location": {"id": 5}}}},
    {**DELETE, "body": None},
]
BAD: list[Any] = [
    None,
    [],
    {},
    *({name: value for name, value in PUT.items() if name != left_out} for left_out in PUT),
    {**POST, "surprise": 1},
    {**POST, "id": ""},
    {**POST, "id": "with space"},
    {**POST, "id": 7},
    {**POST, "account": "Acme"},
    {**POST, "method": "PATCH"},
    {**POST, "method": "post"},
    {**POST, "entity_type": "Job"},
    {**POST, "entity_id": "7"},
    {**POST, "body": None},
    {**POST, "body": []},
    {**POST, "not_after": "soon"},
    {**POST, "not_after": 1.5},
    {**PUT, "entity_id": None},
    {**PUT, "entity_id": "07"},
    {**PUT, "entity_id": 7},
    {**PUT, "entity_id": "1/../2"},
    {**PUT, "check": CHECK},
    {**DELETE, "body": {}},
    {**POST, "check": {}},
    {**POST, "check": []},
    {**POST, "check": {"equals": {}}},
    {**POST, "check": {"equals": []}},
    {**POST, "check": {**CHECK, "params": []}},
    {**POST, "check": {**CHECK, "params": {"a": None}}},
    {**POST, "check": {**CHECK, "params": {"a": {"b": 1}}}},
    {**POST, "check": {**CHECK, "params": {"a": [True]}}},
    {**POST, "check": {**CHECK, "more": 1}},
]

RESULT = CommandResult(
    command_id="c-1",
    account="acme",
    method="POST",
    entity_type="job",
    entity_id="12",
    outcome="done",
    status=None,
    messages=("a", "b"),
    entity={"id": 12},
    checked=True,
    attempts=2,
    latency_ms=15,
)


@pytest.mark.parametrize("value", GOOD, ids=json.dumps)
def test_what_the_schema_allows_is_a_command(value: dict[str, Any]) -> None:
    jsonschema.validate(value, SCHEMA, jsonschema.Draft202012Validator)
    command = decode_command(json.dumps(value).encode())
    assert decode_command(encode(command)) == command


@pytest.mark.parametrize("value", BAD, ids=json.dumps)
def test_what_the_schema_forbids_is_refused_with_a_sentence(value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMA, jsonschema.Draft202012Validator)
    with pytest.raises(ValueError, match=r"^not a Command: .+"):
        decode_command(json.dumps(value).encode())


def test_a_body_that_could_not_be_sent_is_refused() -> None:
    body = b'{"x":' * 300 + b"1" + b"}" * 300
    with pytest.raises(ValueError, match="Recursion limit"):
        decode_command(encode(POST).replace(b'{"name":"x"}', body))


@pytest.mark.parametrize("value", [b"", b"\xff", b"{", b"[" * 2_000])
def test_what_is_not_json_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_command(value)


def test_commands_of_one_entity_and_creations_of_one_type_are_in_one_lane() -> None:
    keys = [decode_command(encode(value)).key for value in (POST, PUT, DELETE)]
    assert keys == ["acme/job", "acme/job/7", "acme/job/7"]


def test_a_command_and_its_check_read_back_as_they_were_written() -> None:
    command = Command(
        id="c", account="acme", method="POST", entity_type="job", body={"a": [1]}, check=Check(equals={"a": [1]})
    )
    assert decode_command(encode(command)) == command


def test_a_result_reads_back_as_it_was_written() -> None:
    assert decode_result(encode(RESULT)) == RESULT


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{}", b'{"messages": []}', b'{"messages": 3}'])
def test_what_is_no_result_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_result(value)
