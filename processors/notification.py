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
from functools import lru_cache
from sys import intern
from typing import Any

from schemas.change import Action
from schemas.encoding import decode, encode

MAX_ID = 2**63 - 1
_MIN_INT64 = -MAX_ID
MAX_TYPE = 64
ENTITY_TYPE = re.compile(rf"[a-z][a-z0-9_.-]{{0,{MAX_TYPE - 1}}}")
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
    changeset: Sequence[tuple[str, Any, Any]]
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


Read = tuple[str, list[Notification], list[Unreadable]]
"""The fields of a Webhook."""


class _BadElementError(Exception):
    """Carries the name of the fault and a sentence about it."""


def parse(body: bytes, *, appended_ms: int, only: Container[int] | None = None) -> Webhook:
    """Read one body.

    Args:
        body: as it was received.
        appended_ms: append time, Unix milliseconds; stands in where no timestamp is given.
        only: indices of the only elements to look at, or None for all.
    """
    return Webhook(*read(body, appended_ms, only))


def read(body: bytes, appended_ms: int, only: Container[int] | None) -> Read:
    """As `parse`; for the core, which has no use for one more object per webhook."""
    try:
        message = decode(body)
    except ValueError as error:
        return _whole(body, "not-json", str(error))
    if type(message) is not dict:
        return _whole(body, "not-an-object", f"the body is {_kind(message)}")
    data = message.get("data")
    if type(data) is not list:
        return _whole(body, "no-data", "data is missing" if "data" not in message else f"data is {_kind(data)}")
    if len(data) > MAX_ELEMENTS:
        return _whole(body, "too-many-elements", f"data has {len(data)} elements, more than {MAX_ELEMENTS}")
    message_id = message.get("messageId")
    if type(message_id) is not str or not 0 < len(message_id) <= MAX_NAME:
        message_id = _fingerprint(body)
    notifications: list[Notification] = []
    unreadable: list[Unreadable] = []
    for index, element in enumerate(data):
        if only is not None and index not in only:
            continue
        try:
            notifications.append(_notification(index, element, message, appended_ms))
        except _BadElementError as fault:
            unreadable.append(Unreadable(index, *fault.args))
    return message_id, notifications, unreadable


def _whole(body: bytes, error: str, message: str) -> Read:
    return _fingerprint(body), [], [Unreadable(None, error, message)]


def _fingerprint(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


# What follows runs once per notification: the shapes that ServiceTrade sends are looked for first.


def _notification(index: int, element: Any, message: dict[str, Any], appended_ms: int) -> Notification:
    if type(element) is not dict:
        raise _BadElementError("element-not-an-object", f"the element is {_kind(element)}")
    entity = element.get("entity")
    if type(entity) is not dict:
        raise _BadElementError("bad-entity", f"entity is {_kind(entity)}")
    spelled = entity.get("type")
    entity_type = _entity_type(spelled) if type(spelled) is str and len(spelled) <= MAX_TYPE else None
    if entity_type is None:
        raise _BadElementError("bad-entity-type", f"entity.type is {_show(spelled)}")
    spelled = element.get("action")
    action = (_ACTIONS.get(spelled) or _ACTIONS.get(spelled.lower())) if type(spelled) is str else None
    if action is None:
        raise _BadElementError("bad-action", f"action is {_show(spelled)}")
    entity_id = entity.get("id")
    if type(entity_id) is not int or not 0 <= entity_id <= MAX_ID:
        entity_id = _entity_id(entity_id)
    at = element.get("timestamp")
    if type(at) is not int or not _MIN_INT64 <= at <= MAX_ID:
        at = _message_time(message, appended_ms) if at is None else _int64(at, "bad-timestamp", "timestamp")
    user_id = element.get("userId")
    if user_id is not None and (type(user_id) is not int or not _MIN_INT64 <= user_id <= MAX_ID):
        user_id = _int64(user_id, "bad-user", "userId")
    changeset, complete = _changeset(element.get("changeset"))
    return Notification(index, entity_type, entity_id, action, at, user_id, changeset, complete or action != "updated")


@lru_cache(maxsize=1_000)
def _entity_type(spelled: str) -> str | None:
    """The type in lower case: one string for all its notifications."""
    lowered = spelled.lower()
    return lowered if ENTITY_TYPE.fullmatch(lowered) else None


def _entity_id(value: Any) -> int:
    entity_id = _int64(value, "bad-entity-id", "entity.id")
    if entity_id < 0:
        raise _BadElementError("bad-entity-id", f"entity.id is {_show(value)}")
    return entity_id


def _int64(value: Any, error: str, shown_as: str) -> int:
    try:
        return _integer(value)
    except ValueError:
        raise _BadElementError(error, f"{shown_as} is {_show(value)}") from None


def _message_time(message: dict[str, Any], appended_ms: int) -> int:
    try:
        return _integer(message.get("timestamp"))
    except ValueError:
        return appended_ms // 1000


def _integer(value: Any) -> int:
    """An int64 from an integer or a string of ASCII digits.

    Raises:
        ValueError: anything else.
    """
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_ID)):
        value = int(value)
    if type(value) is int and _MIN_INT64 <= value <= MAX_ID:
        return value
    raise ValueError


def _changeset(value: Any) -> tuple[Sequence[tuple[str, Any, Any]], bool]:
    """The readable entries, and whether that is all there was to read."""
    entries = [value] if type(value) is dict else value
    if type(entries) is not list:
        return (), False
    readable: list[tuple[str, Any, Any]] = []
    for entry in entries:
        if type(entry) is not dict:
            continue
        name, old, new = entry.get("field"), entry.get("oldValue"), entry.get("newValue")
        if type(name) is not str or len(name) > MAX_NAME:
            continue
        if type(old) is str and type(new) is str and len(old) + len(new) <= _SHORT:
            # Names, states and dates recur: kept once, for all open windows.
            readable.append((intern(name), intern(old), intern(new)))
        elif _can_travel(old) and _can_travel(new):
            readable.append((intern(name), old, new))
    return readable, bool(readable) and len(readable) == len(entries)


def _can_travel(value: Any) -> bool:
    """Whether the value can be written as JSON again, in little space."""
    if type(value) is str:
        return len(value) <= _SHORT or len(encode(value)) <= MAX_VALUE_BYTES
    if type(value) is not dict and type(value) is not list:
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
