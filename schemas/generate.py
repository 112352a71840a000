"""Writes schemas/json and schemas/asyncapi.yaml from the dataclasses and the topic table (`make schemas`).

A development tool: it needs pydantic and PyYAML, which the product does not. A test holds the files equal to the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from schemas.change import EntityChange
from schemas.command import Command, CommandResult
from schemas.deadletter import HEADER_PREFIX, DeadLetter
from schemas.delivery import Delivery
from schemas.rules import RulesInForce
from schemas.topics import (
    CHANGES,
    COMMANDS,
    CONTROL_HEADER,
    DEADLETTERS,
    ELEMENTS_HEADER,
    MAX_RECORD_BYTES,
    RECEIPT_HEADER,
    REDRIVE_TO_HEADER,
    REDRIVES_HEADER,
    REPLAY_HEADER,
    RESOLUTION_HEADER,
    RESOLUTIONS,
    RESOLVES_HEADER,
    TOPICS,
    WEBHOOKS,
    Topic,
)

HERE = Path(__file__).parent
PAYLOADS: tuple[type, ...] = (EntityChange, Delivery, RulesInForce, CommandResult)
WRITTEN_BY_OTHERS: tuple[type, ...] = (Command,)
"""These may leave out what has a default, and must not add anything."""
CHANGE_HEADERS = {
    "ce_specversion": "1.0",
    "ce_id": "id of the change",
    "ce_source": "/servicetrade/{account}",
    "ce_type": "com.servicetrade.{entity type}.{action}",
    "ce_subject": "{entity type}/{entity id}",
    "ce_time": "RFC 3339: latest time of a merged notification",
    "ce_sequence": "sequence of the change",
    "content-type": "application/json",
}
REDRIVE_HEADERS = {
    REDRIVE_TO_HEADER: "present: redriven by a person, and meant for this sink alone",
    REDRIVES_HEADER: "how often it has been redriven",
}
HEADERS = {
    WEBHOOKS.name: {
        RECEIPT_HEADER: "unique id of the request",
        CONTROL_HEADER: "present: not a webhook, skip it",
        ELEMENTS_HEADER: "on a redriven webhook: comma-separated indices of the only elements to process",
        **REDRIVE_HEADERS,
    },
    CHANGES.name: {
        **CHANGE_HEADERS,
        **REDRIVE_HEADERS,
        REDRIVE_TO_HEADER: "present: sent again by a person, and meant for this sink alone, or for all if it is *",
        REPLAY_HEADER: "present: made by this replay, under other rules than those that were in force",
    },
    COMMANDS.name: REDRIVE_HEADERS,
    DEADLETTERS.name: {
        **{
            HEADER_PREFIX + item.name.replace("_", "-"): f"{item.name.replace('_', ' ')} of the failure"
            for item in fields(DeadLetter)
        },
        RESOLUTION_HEADER: f"present: not a dead letter, but what was done about one: {' or '.join(RESOLUTIONS)}",
        RESOLVES_HEADER: "beside it: offset of that dead letter in the same partition",
    },
}
COMMAND_RULES = [
    {
        "if": {"properties": {"method": {"const": "POST"}}},
        "then": {"properties": {"entity_id": {"type": "null"}}},
        "else": {
            "properties": {"entity_id": {"type": "string"}, "check": {"type": "null"}},
            "required": ["entity_id"],
        },
    },
    {
        "if": {"properties": {"method": {"const": "DELETE"}}},
        "then": {"properties": {"body": {"type": "null"}}},
        "else": {"properties": {"body": {"type": "object"}}, "required": ["body"]},
    },
]
"""What belongs to which method, as `decode_command` has it."""


def json_schema(payload: type) -> dict[str, Any]:
    """JSON Schema 2020-12 of a record value."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tradewind:{payload.__name__}",
        **TypeAdapter(payload).json_schema(mode="serialization"),
    }
    if payload in WRITTEN_BY_OTHERS:
        for definition in [schema, *schema.get("$defs", {}).values()]:
            definition["additionalProperties"] = False
    if payload is Command:
        schema["allOf"] = COMMAND_RULES
    return schema


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0 description of the topics that other systems may read, and of the one that they may write."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tradewind",
            "version": version("tradewind"),
            "description": "Kafka topics of the tradewind pipeline. A topic prefix in the configuration goes before "
            "every address.",
        },
        "defaultContentType": "application/json",
        "channels": {_slug(topic): _channel(topic) for topic in TOPICS},
        "operations": {
            f"{_action(topic)}{_name(topic)}": {
                "action": _action(topic),
                "channel": {"$ref": f"#/channels/{_slug(topic)}"},
                "summary": topic.summary,
            }
            for topic in TOPICS
        },
        "components": {"messages": {_slug(topic): _message(topic) for topic in TOPICS}},
    }


def generated() -> Mapping[Path, str]:
    """Every generated file and its text."""
    files = {
        HERE / "json" / f"{payload.__name__}.schema.json": json.dumps(json_schema(payload), indent=2) + "\n"
        for payload in (*PAYLOADS, *WRITTEN_BY_OTHERS)
    }
    files[HERE / "asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, width=110, allow_unicode=True)
    return files


def _slug(topic: Topic) -> str:
    return topic.name.rpartition(".")[2]


def _name(topic: Topic) -> str:
    return _slug(topic).capitalize()


def _action(topic: Topic) -> str:
    return "receive" if topic in (WEBHOOKS, COMMANDS) else "send"


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": topic.summary,
        "messages": {_slug(topic): {"$ref": f"#/components/messages/{_slug(topic)}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": ["delete"], "max.message.bytes": MAX_RECORD_BYTES},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(topic: Topic) -> dict[str, Any]:
    raw = topic.payload == "bytes"
    payload: dict[str, Any] = (
        {"description": "the original bytes, whatever they are"}
        if raw
        else {"$ref": f"json/{topic.payload}.schema.json"}
    )
    return {
        "name": topic.payload if not raw else _slug(topic),
        "contentType": "application/octet-stream" if raw else "application/json",
        "headers": {"type": "object", "properties": _headers(topic)},
        "payload": payload,
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"},
        },
    }


def _headers(topic: Topic) -> dict[str, Any]:
    return {name: {"type": "string", "description": text} for name, text in HEADERS.get(topic.name, {}).items()}


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
