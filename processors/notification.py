"""Pure: reads a webhook body into notifications, tolerant of every shape ServiceTrade is known to send.

Shapes and their certainty: the body is `{"messageId", "timestamp", "data": [...]}`; timestamps come as integers or
as strings of digits, `changeset` is absent, null, an object or an array, unknown entity types are legal.
What cannot be acted on is reported as Unreadable and never stops its neighbours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.change import Action
from schemas.encoding import decode, encode

MAX_ID = 2**63 - 1
ENTITY_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MAX_NESTING = 100
"""Levels of arrays and objects in a value of a changeset: JSON is read to 1,024 levels, but written only to 254."""
MAX_VALUE_BYTES = 10_000
"""Of a value of a changeset as JSON; with the other bounds it keeps every change below what a record may hold."""
MAX_ELEMENTS = 100_000
"""Of a message: more than a body of the largest size could hold, were they all notifications."""
MAX_NAMED = 1_000
"""Bad elements that a dead letter names; where there are more, it stands for the whole body."""
MAX_NAME = 200
"""Characters of a field's name and of a message id."""
_SHORT = 1_000
"""Characters of a string that is within MAX_VALUE_BYTES however it is escaped."""
_ACTIONS: dict[str, Action] = {"created": "created", "updated": "updated", "deleted": "deleted"}


@dataclass(slots=True)
class Notification:
    """One element of a webhook's data array."""

    index: int
    entity_type: str
    entity_id: int
    action: Action
    at: int
    """When it happened, Unix seconds, by ServiceTrade's clock."""
    user_id: int | None
    changeset: tuple[tuple[str, Any, Any], ...]
    """(field, old value, new value) as far as readable."""
    changeset_complete: bool
    """False for an update whose changeset was absent or not readable: other fields may have changed too."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One element, or with index None the whole body, that is no notification."""

    index: int | None
    error: str
    message: str


def name_elements(faults: Sequence[Unreadable]) -> str:
    """The indices of bad elements, comma-separated; nothing where they are too many or it is the whole body."""
    if len(faults) > MAX_NAMED:
        return ""
    return ",".join(str(fault.index) for fault in faults if fault.index is not None)


@dataclass(slots=True)
class Webhook:
    """A body as far as it could be read; each element is in exactly one of the two lists."""

    message_id: str
    notifications: list[Notification] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


class _BadElementError(Exception):
    """Carries the name of the fault and a sentence about it."""


def parse(body: bytes, *, appended_ms: int, only: Container[int] | None = None) -> Webhook:
    """Read one body.

    Args:
        body: as it was received.
        appended_ms: append time, Unix milliseconds; stands in where no timestamp is given.
        only: indices of the only elements to look at, or None for all.
    """
    try:
        message = decode(body)
    except ValueError as error:
        return _whole(body, "not-json", str(error))
    if not isinstance(message, dict):
        return _whole(body, "not-an-object", f"the body is {_kind(message)}")
    data = message.get("data")
    if not isinstance(data, list):
        return _whole(body, "no-data", "data is missing" if "data" not in message else f"data is {_kind(data)}")
    if len(data) > MAX_ELEMENTS:
        return _whole(body, "too-many-elements", f"data has {len(data)} elements, more than {MAX_ELEMENTS}")
    message_id = message.get("messageId")
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_NAME:
        message_id = _fingerprint(body)
    webhook = Webhook(message_id)
    default_at = _message_time(message.get("timestamp"), appended_ms)
    for index, element in enumerate(data):
        if only is not None and index not in only:
            continue
        try:
            webhook.notifications.append(_notification(index, element, default_at))
        except _BadElementError as fault:
            webhook.unreadable.append(Unreadable(index, *fault.args))
    return webhook


def _whole(body: bytes, error: str, message: str) -> Webhook:
    return Webhook(_fingerprint(body), unreadable=[Unreadable(None, error, message)])


def _fingerprint(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _message_time(value: Any, appended_ms: int) -> int:
    try:
        found = _integer(value)
    except ValueError:
        found = None
    return appended_ms // 1000 if found is None else found


def _notification(index: int, element: Any, default_at: int) -> Notification:
    if type(element) is not dict:
        raise _BadElementError("element-not-an-object", f"the element is {_kind(element)}")
    entity = element.get("entity")
    if type(entity) is not dict:
        raise _BadElementError("bad-entity", f"entity is {_kind(entity)}")
    entity_type, action = entity.get("type"), element.get("action")
    lowered = entity_type.lower() if type(entity_type) is str else ""
    if not ENTITY_TYPE.fullmatch(lowered):
        raise _BadElementError("bad-entity-type", f"entity.type is {_show(entity_type)}")
    known_action = _ACTIONS.get(action.lower()) if type(action) is str else None
    if known_action is None:
        raise _BadElementError("bad-action", f"action is {_show(action)}")
    entity_id = _field(entity, "id", "bad-entity-id", "entity.id")
    if entity_id is None or entity_id < 0:
        raise _BadElementError("bad-entity-id", f"entity.id is {_show(entity.get('id'))}")
    at = _field(element, "timestamp", "bad-timestamp", "timestamp")
    changeset, complete = _changeset(element.get("changeset"))
    return Notification(
        index=index,
        entity_type=lowered,
        entity_id=entity_id,
        action=known_action,
        at=default_at if at is None else at,
        user_id=_field(element, "userId", "bad-user", "userId"),
        changeset=changeset,
        changeset_complete=complete or known_action != "updated",
    )


def _field(table: dict[str, Any], name: str, error: str, shown_as: str) -> int | None:
    try:
        return _integer(table.get(name))
    except ValueError:
        raise _BadElementError(error, f"{shown_as} is {_show(table[name])}") from None


def _integer(value: Any) -> int | None:
    """An int64 from an integer or a string of ASCII digits; None stays None.

    Raises:
        ValueError: anything else.
    """
    if value is None:
        return None
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_ID)):
        value = int(value)
    if type(value) is not int or not -MAX_ID <= value <= MAX_ID:
        raise ValueError
    return value


def _changeset(value: Any) -> tuple[tuple[tuple[str, Any, Any], ...], bool]:
    """The readable entries, and whether that is all there was to read."""
    if value is None:
        return (), False
    entries = [value] if isinstance(value, dict) else value
    if not isinstance(entries, list):
        return (), False
    readable = tuple(
        (entry["field"], entry.get("oldValue"), entry.get("newValue"))
        for entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("field"), str)
        and len(entry["field"]) <= MAX_NAME
        and _can_travel(entry.get("oldValue"))
        and _can_travel(entry.get("newValue"))
    )
    return readable, bool(readable) and len(readable) == len(entries)


def _can_travel(value: Any) -> bool:
    """Whether the value can be written as JSON again, in little space."""
    if type(value) is str:
        return len(value) <= _SHORT or len(encode(value)) <= MAX_VALUE_BYTES
    if not isinstance(value, dict | list):
        return True
    return _is_shallow(value) and len(encode(value)) <= MAX_VALUE_BYTES


def _is_shallow(value: Any, levels: int = MAX_NESTING) -> bool:
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list:
        return True
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null or absent"}
    return names.get(type(value), "a number")


def _show(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, str | int | float) else _kind(value)
