"""What ingest wrote to its log, as far as it can be bad: secrets, tracebacks, crashes, warnings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

TAIL_LINES = 12


@dataclass(slots=True, kw_only=True)
class Told:
    """What the processes wrote, as far as it can be bad."""

    events: Counter[str] = field(default_factory=Counter)
    """Lines of level warning and above by their event, up to 100 characters."""
    tracebacks: int = 0
    crashed: int = 0
    secrets: int = 0
    not_json: int = 0
    errors: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    """The last lines, `errors` the last of level error."""


def read_log(path: Path, secrets: Collection[str]) -> Told:
    """Look through the log of ingest, line by line; a line that SIGKILL cut off is no JSON."""
    told = Told()
    if not path.exists():
        return told
    with path.open("rb") as lines:
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            told.tail = [*told.tail[-(TAIL_LINES - 1) :], line]
            told.secrets += any(secret in line for secret in secrets)
            told.tracebacks += "Traceback (most recent call last)" in line
            try:
                entry = json.loads(line)
                level, event = entry["level"], str(entry["event"])
            except (ValueError, TypeError, KeyError):
                told.not_json += bool(line)
                continue
            told.crashed += event == "process.crashed"
            if level in ("error", "critical"):
                told.errors = [*told.errors[-(TAIL_LINES - 1) :], line]
            if level in ("warning", "error", "critical"):
                told.events[f"{level}: {event[:100]}"] += 1
    return told
