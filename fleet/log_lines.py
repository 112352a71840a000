"""Pure: what a process prints, as a line for people or as JSON that says whose it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from schemas.printable import printable, printable_json

ENDS = ("process.crashed", "process.refused")
"""Events with the reason for a process's end."""
_LONGEST_WORDS = 300
_MOST_BRACKETS = 500
"""A process may print what it likes; what could be nested deeper than Python follows is taken for text."""
_RESET = "\x1b[0m"
_COLOURS = ("\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[32m", "\x1b[96m", "\x1b[95m", "\x1b[94m", "\x1b[92m")
"""Of processes; red and yellow are for what is wrong."""
_LEVELS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_DIM = "\x1b[2m"
_SHOWN_APART = frozenset({"time", "level", "process", "logger", "event", "traceback"})
_DATE_AND_TIME = 23
"""Characters of 2026-11-22T21:03:12.345."""


@dataclass(frozen=True, slots=True)
class Look:
    """How lines are shown.

    Attributes:
        names: of the processes, in the order of their colours.
        coloured: whether there are colours.
    """

    names: tuple[str, ...]
    coloured: bool

    def painted(self, text: str, colour: str) -> str:
        """The text in a colour, if there are colours."""
        return f"{colour}{text}{_RESET}" if self.coloured and colour else text

    def head(self, name: str) -> str:
        """What every line of a process begins with."""
        width = max(map(len, (name, *self.names)))
        colour = _COLOURS[self.names.index(name) % len(_COLOURS)] if name in self.names else ""
        return self.painted(f"{name:<{width}} |", colour)


def readable(name: str, line: str, look: Look) -> str:
    """A line of a process for people: whose, when, how bad, what, and the event's own fields; then its traceback.

    What is no log record stays as it is, but for what a terminal would obey.
    """
    head, record = look.head(name), _record(line)
    if record is None:
        return f"{head} {printable(line.expandtabs(4))}"
    time = record["time"][:_DATE_AND_TIME].replace("T", " ")
    level, event = record["level"], record["event"]
    if " " in event and "logger" in record:  # a library's sentence: whose it is says as much
        event = f"{record['logger']}: {event}"
    fields = [f"{key}={_value(value)}" for key, value in record.items() if key not in _SHOWN_APART]
    told = look.painted(printable(f"{level:<7} {event}"), _LEVELS.get(level, ""))
    first = " ".join((head, look.painted(printable(time), _DIM), told, *map(printable, fields)))
    traceback = str(record.get("traceback", "")).rstrip("\n").split("\n") if record.get("traceback") else []
    return "\n".join((first, *(f"{head}   {printable(each.expandtabs(4))}" for each in traceback)))


def as_json(name: str, line: str, *, time: str) -> str:
    """The line as one JSON object with the process's name; what is none becomes the text of one, at `time`."""
    found = _object(line)
    if found is None:
        found = {"time": time, "level": "info", "process": name, "event": "output", "text": line}
    return printable_json(json.dumps({**found, "process": name}))


def last_words(line: str) -> str | None:
    """What a process may say of its end in this line: a crash, a refusal, or what is no log record; None: nothing."""
    record = _record(line)
    if record is None:
        words = line.strip().removeprefix("tradewind: ")
    elif record["event"] in ENDS:
        words = str(record.get("error", ""))
    else:
        words = ""
    return printable(words)[:_LONGEST_WORDS] or None


def _record(line: str) -> dict[str, Any] | None:
    """A record as `runtime.logs` writes it."""
    found = _object(line)
    if found is None or not all(isinstance(found.get(key), str) for key in ("time", "level", "event")):
        return None
    return found


def _object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{") or line.count("{") + line.count("[") > _MOST_BRACKETS:
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _value(value: Any) -> str:
    """A string without spaces or quotes bare, all else as JSON."""
    if isinstance(value, str) and value and not set(value) & set(" \"'=\\") and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)
