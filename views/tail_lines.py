"""Turns records of servicetrade.changes, deliveries and deadletters into lines for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from schemas.change import EntityChange, FieldChange, decode_change
from schemas.deadletter import is_resolution, read_dead_letter, read_resolution
from schemas.delivery import Delivery
from schemas.encoding import decode
from schemas.moments import shown_span
from schemas.record import LogRecord, header
from schemas.topics import REDRIVE_TO_HEADER
from sinks.letters import LetterId, account_of, entities_of
from views.tail_columns import Line, View
from views.tail_filter import About

LONGEST_VALUE = 24
"""Characters of a field's value; --json has all of it."""
ARROW = "→"

_KEY_PARTS = 3


def change_line(record: LogRecord) -> Line:
    """A change.

    Raises:
        ValueError: it is none.
    """
    value = record.value or b""
    change = decode_change(value)
    marks = "".join(f"  [{mark}]" for mark in _marks(record))
    return Line(
        about=About(account=change.account, entities=((change.entity_type, change.entity_id),), action=change.action),
        cells=(
            change.account,
            change.subject,
            change.action,
            f"{change.notifications:,}",
            change.closed_by,
            _fields(change) + marks,
        ),
        body={**_place(record), "change": decode(value), **_again(record)},
        style={"created": "green", "deleted": "red"}.get(change.action, ""),
    )


def _fields(change: EntityChange) -> str:
    said = ", ".join(_field(one) for one in change.changeset)
    return said if change.changeset_complete or not said else f"{said}, …"


def _field(one: FieldChange) -> str:
    return f"{one.name} {_value(one.old_value)}{ARROW}{_value(one.new_value)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _marks(record: LogRecord) -> Sequence[str]:
    return [f"redriven to {sink}" for sink in _again(record).values()]


def _again(record: LogRecord) -> dict[str, str]:
    sink = header(record, REDRIVE_TO_HEADER)
    return {} if sink is None else {"redriven_to": sink.decode(errors="replace")}


def delivery_line(record: LogRecord) -> Line:
    """What became of a change at a sink.

    Raises:
        ValueError: it does not say so.
    """
    body = decode(record.value or b"")
    try:
        delivery = Delivery(**body)
    except TypeError as error:
        raise ValueError(f"not a Delivery: {error}") from error
    return Line(
        about=About(
            account=delivery.account,
            entities=((delivery.entity_type, delivery.entity_id),),
            sink=delivery.sink,
            outcome=delivery.outcome,
        ),
        cells=(
            delivery.account,
            f"{delivery.entity_type}/{delivery.entity_id}",
            delivery.sink,
            delivery.outcome,
            f"{delivery.attempts:,}",
            shown_span(delivery.latency_ms),
            delivery.reason,
        ),
        body={**_place(record), "delivery": body},
        style={"delivered": "green", "dead-lettered": "bold red"}.get(delivery.outcome, "yellow"),
    )


def letter_line(record: LogRecord) -> Line:
    """A dead letter, or what a person did about one.

    Raises:
        ValueError: it is neither.
    """
    return _resolution_line(record) if is_resolution(record) else _letter_line(record)


def _letter_line(record: LogRecord) -> Line:
    letter = read_dead_letter(record.headers)
    entities = tuple(entities_of(letter, record))
    name = LetterId(record.partition, record.offset)
    first = "/".join(entities[0]) if entities else "-"
    told = {"letter": str(name), "entities": ["/".join(entity) for entity in entities]}
    return Line(
        about=About(account=account_of(record), entities=entities, sink=letter.stage, outcome=letter.error),
        cells=(
            account_of(record) or "-",
            first + (f" +{len(entities) - 1}" if len(entities) > 1 else ""),
            letter.stage,
            str(name),
            f"{letter.attempts:,}",
            f"{letter.error}: {letter.message}",
        ),
        body={**_place(record), "dead_letter": {**told, **_letter_facts(record)}},
        style="red",
    )


def _letter_facts(record: LogRecord) -> dict[str, Any]:
    letter = read_dead_letter(record.headers)
    return {
        "account": account_of(record),
        "stage": letter.stage,
        "error": letter.error,
        "message": letter.message,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
        "first_failure_ms": letter.first_failure_ms,
        "last_failure_ms": letter.last_failure_ms,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "elements": letter.elements,
    }


def _resolution_line(record: LogRecord) -> Line:
    resolution = read_resolution(record)
    parts = (record.key or b"").decode(errors="replace").split("/")
    entities = ((parts[1], parts[2]),) if len(parts) == _KEY_PARTS else ()
    letter = str(LetterId(record.partition, resolution.offset))
    why = f": {resolution.reason}" if resolution.reason else ""
    told = {"letter": letter, "what": resolution.what, "reason": resolution.reason}
    return Line(
        about=About(account=account_of(record), entities=entities),
        cells=(
            account_of(record) or "-",
            "/".join(entities[0]) if entities else "-",
            "-",
            letter,
            "-",
            f"{resolution.what} by a person{why}",
        ),
        body={**_place(record), "resolution": {**told, "account": account_of(record)}},
        style="green",
    )


def _place(record: LogRecord) -> dict[str, Any]:
    return {"partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp}


CHANGES_VIEW = View(
    columns=("account", "entity", "action", "from", "closed", "fields"),
    read=change_line,
    right=frozenset({"from"}),
    styled="action",
)
DELIVERIES_VIEW = View(
    columns=("account", "entity", "sink", "outcome", "tries", "after", "reason"),
    read=delivery_line,
    right=frozenset({"tries", "after"}),
    styled="outcome",
)
LETTERS_VIEW = View(
    columns=("account", "entity", "stage", "letter", "tries", "error"),
    read=letter_line,
    right=frozenset({"tries"}),
    styled="error",
)
