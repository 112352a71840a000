"""Shows dead letters to people and programs: rows, facts, bytes as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from schemas.deadletter import HEADER_PREFIX, PROCESSORS, DeadLetter
from schemas.encoding import decode
from schemas.moments import shown_second, shown_time
from schemas.printable import printable
from schemas.record import LogRecord
from sinks.letters import LetterId, Shelf, State, account_of, entities_of

HEX_BYTES = 4096
"""So many bytes are shown in hexadecimal at most."""
LEVELS = 50
"""JSON that is nested deeper is shown without indentation, which would be most of it."""
MESSAGE = 100
"""So many characters of a message are in a row."""

_LINE = 16


def shown_value(value: bytes) -> tuple[str, str]:
    """What the bytes are, and the bytes: JSON indented, other text escaped, anything else in hexadecimal."""
    size = f"{len(value):,} byte{'' if len(value) == 1 else 's'}"
    with suppress(ValueError):
        body = decode(value)
        if _is_shallow(body, LEVELS):
            return f"{size}, JSON", printable(json.dumps(body, indent=2, ensure_ascii=False), lines=True)
    try:
        return f"{size}, text" if value else "empty", printable(value.decode(), lines=True)
    except UnicodeDecodeError:
        shown = "" if len(value) <= HEX_BYTES else f"the first {HEX_BYTES:,} of "
        return f"{shown}{size}", "\n".join(_hexadecimal(value[:HEX_BYTES]))


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_is_shallow(one, levels - 1) for one in inner)


def _hexadecimal(value: bytes) -> Iterator[str]:
    for at in range(0, len(value), _LINE):
        line = value[at : at + _LINE]
        text = "".join(chr(one) if chr(one).isascii() and chr(one).isprintable() else "." for one in line)
        yield f"{at:08x}  {line.hex(' '):<{3 * _LINE}} {text}"


def about(letter: DeadLetter, record: LogRecord) -> str:
    """The entity that the letter is about, or the first of several."""
    entities = entities_of(letter, record)
    first = next(entities, None)
    if first is None:
        return "-"
    more = sum(1 for _ in entities)
    return printable("/".join(first)[:MESSAGE]) + (f" +{more}" if more else "")


def as_row(letter_id: LetterId, letter: DeadLetter, record: LogRecord) -> tuple[str, ...]:
    """Place, last failure (UTC), stage, account, entity, error, attempts, redrives and message."""
    message = letter.message if len(letter.message) <= MESSAGE else f"{letter.message[: MESSAGE - 1]}…"
    return (
        str(letter_id),
        shown_second(letter.last_failure_ms),
        printable(letter.stage),
        account_of(record) or "-",
        about(letter, record),
        printable(letter.error),
        str(letter.attempts),
        str(letter.redrives or "-"),
        printable(message),
    )


def as_json(letter_id: LetterId, letter: DeadLetter, record: LogRecord, state: State) -> dict[str, Any]:
    """The letter for programs, without its bytes."""
    return {
        "letter": str(letter_id),
        "state": state,
        "stage": letter.stage,
        "account": account_of(record),
        "entities": ["/".join(entity) for entity in entities_of(letter, record)],
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


def facts(letter: DeadLetter, record: LogRecord, now_ms: int) -> Iterator[tuple[str, str]]:
    """Everything about a letter but its bytes, as names and values."""
    yield "stage", letter.stage
    yield "account", account_of(record) or "none: the key names no account"
    yield "entity", about(letter, record)
    yield "error", letter.error
    yield "message", letter.message
    yield "attempts", str(letter.attempts)
    yield "first failure", shown_time(letter.first_failure_ms, now_ms)
    yield "last failure", shown_time(letter.last_failure_ms, now_ms)
    yield "redriven", f"{letter.redrives} times before" if letter.redrives else "never before"
    yield "original", f"{letter.topic}[{letter.partition}] offset {letter.offset}"
    if letter.elements:
        yield "elements", f"{letter.elements} of the webhook's data; the others went on"
    elif letter.stage == PROCESSORS:
        yield "elements", "the whole record"
    yield "key", "(none)" if record.key is None else record.key.decode(errors="backslashreplace")
    for name, value in record.headers:
        if not name.startswith(HEADER_PREFIX):
            yield "header", f"{name}: {_shown_header(value)}"


def _shown_header(value: bytes | None) -> str:
    return "(null)" if value is None else value.decode(errors="backslashreplace")


def absence(shelves: Sequence[Shelf], letter_id: LetterId) -> str | None:
    """Why there is no such letter, in a sentence."""
    found = [shelf for shelf in shelves if shelf.partition == letter_id.partition]
    if not found:
        return f"there is no dead letter {letter_id}: the topic has no partition {letter_id.partition}"
    (shelf,) = found
    if letter_id.offset < shelf.start:
        return f"there is no dead letter {letter_id} any more: retention has removed all before offset {shelf.start}"
    if not shelf.holds(letter_id.offset):
        return f"there is no dead letter {letter_id}: `tradewind deadletters list` shows which there are"
    return None
