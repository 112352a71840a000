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
from schemas.deadletter import HEADER_PREFIX, DeadLetter
from schemas.delivery import Delivery
from schemas.rules import RulesInForce
from schemas.topics import CONTROL_HEADER, DEADLETTERS, MAX_RECORD_BYTES, RECEIPT_HEADER, TOPICS, WEBHOOKS, Topic

HERE = Path(__file__).parent
PAYLOADS: tuple[type, ...] = (EntityChange, Delivery, RulesInForce)
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


def json_schema(payload: type) -> dict[str, Any]:
    """JSON Schema 2020-12 of a record value."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tradewind:{payload.__name__}",
        **TypeAdapter(payload).json_schema(mode="serialization"),
    }


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0 description of the topics that other systems may read."""
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
            f"{'receive' if topic is WEBHOOKS else 'send'}{_name(topic)}": {
                "action": "receive" if topic is WEBHOOKS else "send",
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
        for payload in PAYLOADS
    }
    files[HERE / "asyncapi.yaml"] = yaml.safe_dump(asyncapi(), sort_keys=False, width=110, allow_unicode=True)
    return files


def _slug(topic: Topic) -> str:
    return topic.name.rpartition(".")[2]


def _name(topic: Topic) -> str:
    return _slug(topic).capitalize()


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
    if topic is WEBHOOKS:
        names = {RECEIPT_HEADER: "unique id of the request", CONTROL_HEADER: "present: not a webhook, skip it"}
    elif topic is DEADLETTERS:
        names = {
            HEADER_PREFIX + item.name.replace("_", "-"): f"{item.name.replace('_', ' ')} of the failure"
            for item in fields(DeadLetter)
        }
    elif topic.payload == EntityChange.__name__:
        names = CHANGE_HEADERS
    else:
        names = {}
    return {name: {"type": "string", "description": text} for name, text in names.items()}


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
