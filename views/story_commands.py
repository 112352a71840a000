"""Pure: tells which API calls were wanted for an entity, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.command import Command, CommandResult, decode_command, decode_result
from schemas.record import LogRecord, header
from schemas.topics import REDRIVE_TO_HEADER
from views.story_entity import Entity
from views.story_event import Event, many
from views.story_topics import place_of, text_of

MOST_FIELDS = 8


class CommandsTold:
    """Reads servicetrade.commands and servicetrade.results of the account.

    What a POST creates has an id only in its result: its command is told with that. Results have to be fed first.
    """

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._key = entity.account.encode()
        self._created_by: set[str] = set()
        self._posts: dict[str, Event] = {}

    def feed_results(self, records: Iterable[LogRecord]) -> list[Event]:
        """What results in offset order tell of the entity."""
        events = []
        for record in records:
            if record.key != self._key or not self._entity.may_be_in(record.value):
                continue
            try:
                result = decode_result(record.value or b"")
            except ValueError:
                continue
            if self._entity.is_named(result.entity_type, result.entity_id):
                self._created_by.add(result.command_id)
                events.append(_result(result, record))
                if (post := self._posts.pop(result.command_id, None)) is not None:
                    events.append(post)
        return events

    def feed_commands(self, records: Iterable[LogRecord]) -> list[Event]:
        """What commands in offset order tell of the entity."""
        events = []
        for record in records:
            if record.key != self._key or not self._may_be_in(record.value):
                continue
            try:
                command = decode_command(record.value or b"")
            except ValueError:
                continue  # the command sink tells of it in a dead letter
            if command.entity_type != self._entity.type:
                continue
            if command.entity_id == self._entity.id or command.id in self._created_by:
                events.append(_command(command, record))
            elif command.method == "POST":
                self._posts[command.id] = _command(command, record)
        return events

    def _may_be_in(self, value: bytes | None) -> bool:
        return value is not None and (self._entity.type.encode() in value or b"\\u" in value)


def _command(command: Command, record: LogRecord) -> Event:
    fields = ", ".join(list(command.body or {})[:MOST_FIELDS])
    to = text_of(header(record, REDRIVE_TO_HEADER))
    return Event(
        at_ms=record.timestamp,
        kind="command",
        text=f"{command.id}: {command.method}" + (f" {fields}" if fields else "") + ("; redriven" if to else ""),
        facts={**place_of(record), "command_id": command.id, "method": command.method},
    )


def _result(result: CommandResult, record: LogRecord) -> Event:
    status = f", HTTP {result.status}" if result.status else ""
    said = f": {'; '.join(result.messages)}" if result.messages else ""
    tried = f"; {many(result.attempts, 'attempt')}" if result.attempts > 1 else ""
    return Event(
        at_ms=record.timestamp,
        kind="result",
        text=f"{result.command_id}: {result.method} {result.outcome}{status}{said}{tried}",
        tone="good" if result.outcome == "done" else "bad",
        facts={
            **place_of(record),
            "command_id": result.command_id,
            "method": result.method,
            "outcome": result.outcome,
            "status": result.status,
            "messages": list(result.messages),
            "attempts": result.attempts,
        },
    )
