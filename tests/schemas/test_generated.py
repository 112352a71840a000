"""The published schemas say what the code does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from schemas.change import EntityChange, FieldChange, Source, cloud_event_headers, decode_change
from schemas.deadletter import DeadLetter, read_dead_letter
from schemas.delivery import Delivery
from schemas.encoding import encode
from schemas.generate import CHANGE_HEADERS, WRITTEN_BY_OTHERS, asyncapi, generated
from schemas.rules import RulesInForce, decode_rules_in_force
from schemas.topics import COMMANDS, REDRIVE_TO_HEADER, TOPICS
from tests.schemas.test_command import RESULT

JSON = Path(__file__).parents[2] / "schemas" / "json"

CHANGE = EntityChange(
    id="0" * 32,
    sequence="0001-0000000000000007-00000000",
    account="acme",
    entity_type="job",
    entity_id="2687264638045377",
    action="updated",
    changeset=(FieldChange(name="status", old_value="scheduled", new_value={"deep": [1, None]}),),
    changeset_complete=True,
    users=(1234, None),
    first_at=1401833052,
    last_at=1401833057,
    opened_ms=1401833057100,
    due_ms=1401833059100,
    closed_by="quiet",
    notifications=2,
    sources=(Source(offset=7, index=0, message_id="22b80b92"),),
    rules_version="builtin",
)
DELIVERY = Delivery(
    change_id=CHANGE.id,
    sequence=CHANGE.sequence,
    account="acme",
    entity_type="job",
    entity_id="1",
    sink="mirror",
    outcome="delivered",
    reason="",
    attempts=1,
    latency_ms=12,
)
RULES = RulesInForce(account="acme", version="ab", topic="t", partition=3, offset=9, rules={"default": {}, "types": {}})


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_a_committed_schema_is_what_the_code_generates(path: Path) -> None:
    assert path.read_text() == generated()[path], "run `make schemas`"


@pytest.mark.parametrize("value", [CHANGE, DELIVERY, RULES, RESULT], ids=lambda value: type(value).__name__)
def test_an_encoded_record_is_valid_by_its_schema(value: object) -> None:
    schema = json.loads((JSON / f"{type(value).__name__}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(encode(value)), schema, jsonschema.Draft202012Validator)


def test_every_field_of_a_schema_is_described_and_required_unless_others_may_leave_it_out() -> None:
    others = {f"{payload.__name__}.schema.json" for payload in WRITTEN_BY_OTHERS}
    for path in JSON.iterdir():
        schema = json.loads(path.read_text())
        for definition in [schema, *schema.get("$defs", {}).values()]:
            assert path.name in others or set(definition["required"]) == set(definition["properties"]), path.name
            undescribed = [name for name, item in definition["properties"].items() if "description" not in item]
            assert not undescribed, f"{path.name}: {undescribed}"


def test_asyncapi_describes_every_topic_and_refers_to_schemas_that_exist() -> None:
    document: dict[str, Any] = yaml.safe_load((JSON.parent / "asyncapi.yaml").read_text())
    assert {channel["address"] for channel in document["channels"].values()} == {topic.name for topic in TOPICS}
    for message in document["components"]["messages"].values():
        if reference := message["payload"].get("$ref"):
            assert (JSON.parent / reference).exists()
    assert document == asyncapi()
    actions = {name: operation["action"] for name, operation in document["operations"].items()}
    assert (actions["receiveCommands"], actions["sendResults"]) == ("receive", "send")
    redriven = document["components"]["messages"][COMMANDS.name.rpartition(".")[2]]["headers"]["properties"]
    assert REDRIVE_TO_HEADER in redriven


def test_a_change_reads_back_as_it_was_written() -> None:
    assert decode_change(encode(CHANGE)) == CHANGE


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{}", b'{"id": 1}', b"\xff", b'"text"'])
def test_what_is_no_change_is_refused_with_a_value_error(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_change(value)


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{}", b'{"id": 1}', b"\xff"])
def test_what_is_no_rules_record_is_refused_with_a_value_error(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_rules_in_force(value)


def test_rules_read_back_as_they_were_written() -> None:
    assert decode_rules_in_force(encode(RULES)) == RULES


def test_a_change_is_a_cloud_event_with_the_documented_headers() -> None:
    headers = dict(cloud_event_headers(CHANGE))
    assert headers.keys() == CHANGE_HEADERS.keys()
    assert headers["ce_type"] == b"com.servicetrade.job.updated"
    assert headers["ce_source"] == b"/servicetrade/acme"
    assert headers["ce_subject"] == b"job/2687264638045377"
    assert headers["ce_time"] == b"2014-06-03T22:04:17Z"
    assert headers["ce_sequence"] == CHANGE.sequence.encode()


@pytest.mark.parametrize("nonsense", [-1, 2**63 - 1, -(2**63) + 1, 253_402_300_800])
def test_a_change_whose_time_is_no_date_still_has_a_time(nonsense: int) -> None:
    headers = dict(cloud_event_headers(replace(CHANGE, last_at=nonsense)))
    assert headers["ce_time"] == b"2014-06-03T22:04:17Z"


def test_a_dead_letters_reason_reads_back_from_its_headers() -> None:
    letter = DeadLetter(
        topic="t",
        partition=1,
        offset=2,
        stage="processors",
        error="not-json",
        message="bad: ü",
        attempts=1,
        first_failure_ms=3,
        last_failure_ms=4,
        elements="0,5",
    )
    assert read_dead_letter([("other", b"x"), *letter.headers()]) == letter
    with pytest.raises(ValueError, match="x-dlq-topic is missing"):
        read_dead_letter([])
