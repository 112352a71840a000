"""Pure: what `tradewind up` itself has to say, in a sentence for people and as an event for programs."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.printable import printable

UP = "up"
"""What it is called where processes are named."""

Event = Literal[
    "up.process",  # one that is started: its pid and its ports
    "up.left_out",  # one that is not, and why
    "up.waiting",  # the topics cannot be seen to yet: no broker, or it refuses; it is asked again and again
    "up.topics",  # topics were created
    "up.topic_wrong",  # a topic is not as it should be; `tradewind topics` says the same
    "up.ready",  # all processes are
    "up.not_ready",  # some still are not; nothing is stopped for that
    "up.died",  # a process ended by itself, and is started again
    "up.dying",  # it has done so several times in a row
    "up.back",  # it is ready again
    "up.stopping",  # Ctrl-C, SIGTERM or SIGHUP: everything drains
    "up.killing",  # Ctrl-C or SIGTERM again: nothing is waited for
    "up.unclean",  # a process did not end as one does that has finished what it held
    "up.stopped",  # the last words
    "up.unread",  # lines were not shown, because whoever reads them is slow
]

MISCONFIGURED = 2
"""Exit code of a process that refuses its configuration."""
TOO_OFTEN = 5
"""So many deaths in a row, each soon after its start, are worth a remark of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something to say."""

    event: Event
    text: str
    level: Literal["info", "warning", "error"] = "info"
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A row of the table of what runs."""

    name: str
    pid: int
    address: str
    """host:port of what others use, or nothing."""
    ops: str
    """host:port of /readyz and /metrics, or nothing."""
    does: str


def table(started: Sequence[Started], left_out: Sequence[tuple[str, str]]) -> Iterator[Remark]:
    """What is started where, and what is not, and why."""
    rows = [(one.name, str(one.pid), one.address or "-", one.ops or "-", one.does) for one in started]
    widths = [max(map(len, column)) for column in zip(*rows, ("process", "pid", "address", "ops", ""), strict=True)]
    widths[0] = max((widths[0], *(len(name) for name, _ in left_out)))

    def aligned(cells: Sequence[str]) -> str:
        return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip()

    for number, (one, row) in enumerate(zip(started, rows, strict=True)):
        text = aligned(row)
        if number == 0:
            text = f"{aligned(('process', 'pid', 'address', 'ops', ''))}\n{text}"
        fields = {"name": one.name, "pid": one.pid, "address": one.address, "ops": one.ops}
        yield Remark(event="up.process", text=text, fields=fields)
    for name, why in left_out:
        text = f"{name:<{widths[0]}}  not started: {printable(why)}"
        yield Remark(event="up.left_out", text=text, fields={"name": name, "why": why})


def how_it_ended(status: int) -> str:
    """An exit code, or minus a signal, in words."""
    if status >= 0:
        return f"exit code {status}"
    with suppress(ValueError):
        return f"signal {-status}, {signal.Signals(-status).name}"
    return f"signal {-status}"


def died(name: str, status: int, in_a_row: int, *, words: str | None, log: str) -> Remark | None:
    """A process ended by itself.

    Args:
        name: its name.
        status: exit code, or minus the signal.
        in_a_row: how many times now it died soon after its start.
        words: what it said last, if that may be the reason.
        log: where all of it is.

    Returns:
        What to say; None if it was said often enough: from the fifth time on, every fifth, tenth, twentieth, ... is.
    """
    because = f": {words}" if words and status > 0 else ""
    how = f"({how_it_ended(status)}){because}"
    fields = {"name": name, "status": status, "in_a_row": in_a_row, "words": words}
    if in_a_row < TOO_OFTEN:
        return Remark(event="up.died", level="warning", text=f"{name} died {how}", fields=fields)
    rounds, rest = divmod(in_a_row, TOO_OFTEN)
    if rest or rounds & (rounds - 1):
        return None
    told = f"{name} died {in_a_row} times in a row {how}"
    if status == MISCONFIGURED:
        told = f"{name} refuses its configuration{because}"
    told += f"; it is started again and again, the others run on; see {log}"
    return Remark(event="up.dying", level="error", text=told, fields=fields)


def back(name: str, pid: int, *, status: int, deaths: int, restarted_after_s: float, ready_after_s: float) -> Remark:
    """A process that died is ready again; times are since it died first."""
    times = "" if deaths == 1 else f"{deaths} times, last "
    text = (
        f"{name} died {times}({how_it_ended(status)}), restarted after {restarted_after_s:.1f} s, "
        f"ready after {ready_after_s:.1f} s, pid {pid}"
    )
    fields = {
        "name": name,
        "pid": pid,
        "status": status,
        "deaths": deaths,
        "restarted_after_s": round(restarted_after_s, 3),
        "ready_after_s": round(ready_after_s, 3),
    }
    return Remark(event="up.back", text=text, fields=fields)


CLEAN = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM})
"""How a process ends that was asked to: by itself, or before it held anything; a JVM says the last one."""


def unclean(statuses: Mapping[str, int]) -> Iterator[Remark]:
    """Which processes did not end well, by how they ended: exit code, or minus the signal."""
    for name, status in statuses.items():
        if status not in CLEAN:
            killed = status == -signal.SIGKILL
            how = "had to be killed" if killed else f"had failed ({how_it_ended(status)})"
            fields = {"name": name, "status": status}
            yield Remark(event="up.unclean", level="error", text=f"{name} {how}", fields=fields)
