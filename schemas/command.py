"""Command and CommandResult: an API call that somebody wants performed on ServiceTrade, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from schemas.encoding import decode, encode
from schemas.topics import ACCOUNT_NAME

Method = Literal["POST", "PUT", "DELETE"]
CommandOutcome = Literal["done", "failed", "expired", "uncertain"]

_ID = re.compile(r"[!-~]{1,200}")
_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_ENTITY_ID = re.compile(r"[1-9][0-9]{0,18}")


def _text(pattern: re.Pattern[str], description: str) -> dict[str, str]:
    """What the published schema says of a text; JSON Schema searches where `fullmatch` matches."""
    return {"description": description, "pattern": f"^(?:{pattern.pattern})$"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How to find out by a read whether a POST has had its effect."""

    params: Mapping[str, str | int | bool | list[str | int]] = field(
        default_factory=dict,
        metadata={"description": "query of the list of the entity type that narrows it down, for example createdAfter"},
    )
    equals: Mapping[str, Any] = field(
        metadata={
            "description": "fields and their values that no other entity has, for example a reference of yours; of an "
            "object only what is named here has to be equal",
            "min_length": 1,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One record value on servicetrade.commands, keyed by account."""

    id: str = field(metadata=_text(_ID, "chosen by the sender, unique per account: a repeat is not performed again"))
    account: str = field(metadata=_text(ACCOUNT_NAME, "name of the customer account in the configuration"))
    method: Method = field(metadata={"description": "POST creates, PUT updates, DELETE deletes"})
    entity_type: str = field(metadata=_text(_TYPE, "lower-case entity type, for example job"))
    entity_id: str | None = field(
        default=None, metadata=_text(_ENTITY_ID, "decimal digits; null with POST, required with PUT and DELETE")
    )
    body: Mapping[str, Any] | None = field(
        default=None, metadata={"description": "fields to send, as ServiceTrade spells them; null with DELETE"}
    )
    not_after: int | None = field(
        default=None,
        metadata={"description": "Unix seconds after which nothing is sent any more; null: never too late"},
    )
    check: Check | None = field(
        default=None,
        metadata={"description": "with POST: how to find out whether it was performed, where nobody can say otherwise"},
    )

    @property
    def key(self) -> str:
        """What commands are performed in order for: `account/type/id`, or `account/type` for all that is created."""
        return "/".join(part for part in (self.account, self.entity_type, self.entity_id) if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """One record value on servicetrade.results, keyed by account."""

    command_id: str = field(metadata={"description": "id of the command"})
    account: str = field(metadata={"description": "name of the customer account"})
    method: Method = field(metadata={"description": "of the command"})
    entity_type: str = field(metadata={"description": "of the command"})
    entity_id: str | None = field(metadata={"description": "of the command, or of what was created, if known"})
    outcome: CommandOutcome = field(
        metadata={
            "description": "done: performed, once; failed: it was refused, nothing happened; expired: not_after had "
            "passed, nothing happened; uncertain: it may or may not have been performed, a person has to look"
        }
    )
    status: int | None = field(
        metadata={"description": "HTTP status of ServiceTrade's answer where that was no success, else null"}
    )
    messages: tuple[str, ...] = field(
        metadata={"description": "ServiceTrade's own messages, or why there is no answer"}
    )
    entity: Any = field(
        metadata={"description": "the entity as ServiceTrade answered it, null if unknown or too large"}
    )
    checked: bool = field(metadata={"description": "whether the outcome was found out by the command's check"})
    attempts: int = field(metadata={"description": "how often it was sent and may have had an effect"})
    latency_ms: int = field(metadata={"description": "from the command's record timestamp to its outcome"})


def decode_command(value: bytes) -> Command:
    """Read a record value of servicetrade.commands.

    Raises:
        ValueError: the bytes are not a Command that could be performed.
    """
    data = decode(value)
    if not isinstance(data, dict):
        raise ValueError("not a Command: an object is expected")
    try:
        check = data.get("check")
        command = Command(**{**data, "check": None if check is None else Check(**check)})
        encode(command)  # JSON is read deeper than it can be written
    except TypeError as error:
        raise ValueError(f"not a Command: {error}") from error
    if fault := _fault(command):
        raise ValueError(f"not a Command: {fault}")
    return command


def decode_result(value: bytes) -> CommandResult:
    """Read a record value of servicetrade.results.

    Raises:
        ValueError: the bytes are not a CommandResult.
    """
    data = decode(value)
    try:
        return CommandResult(**{**data, "messages": tuple(data["messages"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a CommandResult: {error}") from error


def _fault(command: Command) -> str | None:
    """What is wrong with it, in a sentence."""
    texts = (
        ("id", _ID, command.id),
        ("account", ACCOUNT_NAME, command.account),
        ("entity_type", _TYPE, command.entity_type),
    )
    for name, pattern, text in texts:
        if not isinstance(text, str) or not pattern.fullmatch(text):
            return f"{name} is {text!r}"
    if command.method not in get_args(Method):
        return f"method is {command.method!r}"
    if command.not_after is not None and type(command.not_after) is not int:
        return f"not_after is {command.not_after!r}"
    return _fault_of_target(command) or (
        None if command.check is None else _fault_of_check(command.check, command.method)
    )


def _fault_of_target(command: Command) -> str | None:
    if command.method == "POST":
        if command.entity_id is not None:
            return "a POST has no entity_id"
    elif not isinstance(command.entity_id, str) or not _ENTITY_ID.fullmatch(command.entity_id):
        return f"entity_id is {command.entity_id!r}"
    if (command.body is None) != (command.method == "DELETE") or not isinstance(command.body, dict | None):
        return "body is an object with POST and PUT, and null with DELETE"
    return None


def _fault_of_check(check: Check, method: str) -> str | None:
    if method != "POST":
        return "only a POST has a check: PUT and DELETE can be sent again"
    if not isinstance(check.params, dict) or not isinstance(check.equals, dict) or not check.equals:
        return "check: params and equals are objects, equals not empty"
    for name, value in check.params.items():
        if type(value) is bool:
            continue
        if not all(type(item) in (str, int) for item in (value if isinstance(value, list) else [value])):
            return f"check: params.{name} is a text, an integer, true, false, or an array of texts and integers"
    return None
