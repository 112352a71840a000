"""Pure: the body of one webhook message, in every shape that was seen or documented, and the broken ones.

The documented shape: `{messageId, timestamp: "seconds", data: [{action, timestamp: seconds, userId,
entity: {type, id, uri}, changeset?}]}` (published webhook documentation, by way of integrators).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from servicetrade.simulator.switches import Changesets, Switches
from servicetrade.simulator.world import Event, FieldChange

# Not where the API is: a receiver that follows it is wrong.
EVENT_URI = "https://api.servicetrade.com/api/{type}/{id}"

Oddity = Literal["not_json", "poison_element", "unknown_type"]
ODDITIES: tuple[Oddity, ...] = get_args(Oddity)
UNKNOWN_TYPE = "permit"
_NOT_JSON = (b'{"messageId":"', b"<html><body>502 Bad Gateway</body></html>", b"\xff\xfe\x00{]")
_POISON: tuple[Any, ...] = (
    "not an object",
    {"action": "updated", "userId": None, "entity": "job/1"},
    {"action": "updated", "userId": None, "entity": {"type": "job", "id": ["1", "2"]}},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is decided beforehand about one message.

    Args:
        message_id: its messageId.
        hold_s: seconds for which it is held back, so that later ones overtake it.
        repeat_after_s: send it a second time so many seconds after the first; None for once.
        oddity: break it in this way; odd messages go to every enabled webhook.
    """

    message_id: str
    hold_s: float = 0.0
    repeat_after_s: float | None = None
    oddity: Oddity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One message ready to send.

    Args:
        elements: length of `data`, poison included; 0 for a body that is not JSON.
        poison_elements: how many of them are deliberately broken.
        poison_body: the body as a whole is not JSON.
    """

    body: bytes
    elements: int
    poison_elements: int = 0
    poison_body: bool = False


def encode(
    events: Sequence[Event],
    *,
    message_id: str,
    now: float,
    include_changesets: bool,
    switches: Switches,
    oddity: Oddity | None = None,
) -> Encoded:
    """Encode the events as one message sent at `now` (Unix seconds).

    An oddity breaks the message on purpose, in a way picked by the messageId: "not_json" replaces the whole
    body (give it no events), "poison_element" adds one element of a wrong type; "unknown_type" breaks
    nothing, its event is made by the caller.
    """
    pick = sum(message_id.encode())
    if oddity == "not_json":
        return Encoded(body=_NOT_JSON[pick % len(_NOT_JSON)], elements=0, poison_body=True)
    data: list[Any] = []
    for position, event in enumerate(events):
        shape = switches.changesets
        if shape == "mixed":
            shape = _MIX[(pick + position) % len(_MIX)]
        data += _elements(event, shape if include_changesets else "absent", switches)
    poison = [_POISON[pick % len(_POISON)]] if oddity == "poison_element" else []
    data += poison
    seconds = int(now)
    message = {
        "messageId": message_id,
        "timestamp": seconds if switches.timestamps == "int" else str(seconds),
        "data": data,
    }
    body = json.dumps(message, separators=(",", ":")).encode()
    return Encoded(body=body, elements=len(data), poison_elements=len(poison))


_MIX: tuple[Changesets, ...] = ("array", "object", "null", "absent")


def _elements(event: Event, shape: Changesets, switches: Switches) -> list[dict[str, Any]]:
    element = {
        "action": event.action,
        "timestamp": str(event.at) if switches.timestamps == "string" else event.at,
        "userId": event.user_id,
        "entity": {
            "type": event.type,
            "id": str(event.id) if switches.entity_ids == "string" else event.id,
            "uri": EVENT_URI.format(type=event.type, id=event.id),
        },
    }
    if shape == "null":
        return [{**element, "changeset": None}]
    if shape == "absent" or not event.changes:
        return [element]
    changes = [_change(change) for change in event.changes]
    if shape == "object":
        # An object has room for one field: an edit of two tracked fields makes two elements.
        return [{**element, "changeset": change} for change in changes]
    return [{**element, "changeset": changes}]


def _change(change: FieldChange) -> dict[str, Any]:
    return {"field": change.field, "oldValue": change.old, "newValue": change.new}
