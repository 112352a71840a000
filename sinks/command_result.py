"""Pure: the result of a command as it is told, within what a record may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.command import Command, CommandOutcome, CommandResult
from schemas.encoding import encode

MAX_ENTITY_BYTES = 1_048_576
"""A result without the entity is of more use than one that no topic takes."""
MAX_MESSAGES, MAX_MESSAGE = 50, 2_000
"""How many messages a result has, and how many characters each."""


def result_of(
    command: Command,
    outcome: CommandOutcome,
    *,
    status: int | None = None,
    messages: tuple[str, ...] = (),
    entity: Mapping[str, Any] | None = None,
    checked: bool = False,
    attempts: int = 0,
    latency_ms: int = 0,
) -> CommandResult:
    """The result; of an entity that no record could hold it says so instead."""
    left_out = _unwritable(entity)
    texts = messages if left_out is None else (*messages, left_out)
    return CommandResult(
        command_id=command.id,
        account=command.account,
        method=command.method,
        entity_type=command.entity_type,
        entity_id=command.entity_id or _id_of(entity),
        outcome=outcome,
        status=status,
        messages=tuple(text[:MAX_MESSAGE] for text in texts[:MAX_MESSAGES]),
        entity=entity if left_out is None else None,
        checked=checked,
        attempts=attempts,
        latency_ms=latency_ms,
    )


def _unwritable(entity: Mapping[str, Any] | None) -> str | None:
    try:
        size = len(encode(entity))
    except TypeError:  # JSON is read deeper than it can be written
        return "the entity is left out: it is nested too deep"
    return f"the entity is left out: it has {size} bytes" if size > MAX_ENTITY_BYTES else None


def _id_of(entity: Mapping[str, Any] | None) -> str | None:
    found = "" if entity is None else str(entity.get("id"))
    return found if found.isdecimal() else None
