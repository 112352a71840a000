"""`tradewind deadletters list` and `show`: reads the topic, and prints."""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Sequence
from itertools import chain

from rich.markup import escape
from rich.table import Table

from cli.console import FAILED, OK, OUT
from cli.deadletters_options import open_desk
from cli.messages import complain, note
from cli.progress import progress
from cli.routes import routes_of
from runtime.settings import Settings
from schemas.deadletter import Resolution
from schemas.moments import shown_time
from schemas.printable import printable
from sinks.letter_view import absence, as_json, as_row, facts, shown_value
from sinks.letters import LetterId, Shelf, Wanted

SHOWN = 100
"""Letters in a table, unless --limit says otherwise."""
_LAST = "last failure (UTC)"
_COLUMNS = ("letter", "state", _LAST, "sink", "account", "entity", "error", "attempts", "redrives", "message")
_WIDE = 10_000


async def list_all(settings: Settings, wanted: Wanted, *, resolved: bool, limit: int | None, as_lines: bool) -> int:
    """Print the letters that are wanted.

    Args:
        settings: where the topic is.
        wanted: which letters.
        resolved: also those that are not open any more.
        limit: print at most so many, the latest.
        as_lines: each as a line of JSON, in the order of their places; else as a table, the latest last.

    Returns:
        How many there are, printed or not.
    """
    async with open_desk(settings) as desk:
        with progress("reading", "records") as watch:
            shelves = await desk.survey(wanted, watch=watch)
        chosen: list[tuple[Shelf, Sequence[int]]] = [(shelf, shelf.offsets(resolved=resolved)) for shelf in shelves]
        total = sum(len(offsets) for _, offsets in chosen)
        most = SHOWN if limit is None and not as_lines else limit
        if most is not None:
            latest = heapq.nlargest(most, chain.from_iterable(shelf.dated(resolved=resolved) for shelf in shelves))
            chosen = [(shelf, _of(shelf.partition, latest)) for shelf in shelves]
        rows = []
        for shelf, offsets in chosen:
            async for letters in desk.letters(shelf.partition, offsets):
                for letter, record in letters:
                    letter_id, state = LetterId(shelf.partition, record.offset), shelf.state(record.offset)
                    if as_lines:
                        sys.stdout.write(json.dumps(as_json(letter_id, letter, record, state)) + "\n")
                    else:
                        cells = as_row(letter_id, letter, record)
                        rows.append((record.timestamp, letter_id, (*cells[:1], state, *cells[1:])))
    if rows:
        _print_table([cells for _, _, cells in sorted(rows)], with_state=resolved)
    if most is not None and total > most:
        note(f"the latest {most:,} of {total:,}: --limit shows more")
    if foreign := sum(shelf.foreign for shelf in shelves):
        note(f"{foreign:,} records on the topic are no dead letters of ours")
    return total


def _of(partition: int, dated: Sequence[tuple[int, LetterId]]) -> list[int]:
    return sorted(letter_id.offset for _, letter_id in dated if letter_id.partition == partition)


def _print_table(rows: Sequence[tuple[str, ...]], *, with_state: bool) -> None:
    shown = [number for number, name in enumerate(_COLUMNS) if with_state or name != "state"]
    table = Table(*(_COLUMNS[number] for number in shown), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(row[number]) for number in shown))
    # One line per letter, whatever the width: they are searched and copied from.
    table.width = OUT.measure(table, options=OUT.options.update(width=_WIDE)).maximum
    OUT.print(table, highlight=False, crop=False, soft_wrap=True)


async def show_one(settings: Settings, letter_id: LetterId, *, raw: bool) -> int:
    """Print all of one letter, or with `raw` its bytes; returns the exit code."""
    now_ms = time.time_ns() // 1_000_000
    async with open_desk(settings) as desk:
        with progress("reading", "records") as watch:
            shelves = await desk.look_up([letter_id], routes_of(settings).obstacle, watch=watch)
        if fault := absence(shelves, letter_id):
            complain(fault)
            return FAILED
        found = [batch async for batch in desk.letters(letter_id.partition, [letter_id.offset])]
        resolved = await desk.resolution_of(letter_id)
    ((letter, record),) = found[0]
    value = record.value or b""
    if raw:
        sys.stdout.buffer.write(value)
        return OK
    kind, text = shown_value(value)
    lines = [("letter", str(letter_id)), ("state", _state(resolved, now_ms)), *facts(letter, record, now_ms)]
    if resolved is None:
        obstacle = next(iter(shelves[0].obstacles()), None)
        command = f"`tradewind deadletters redrive {letter_id}` sends it to {letter.stage}, and to nobody else"
        lines.append(("to redrive", command if obstacle is None else f"it cannot be: {obstacle}"))
    for name, fact in (*lines, ("value", kind)):
        OUT.print(f"[dim]{name:<14}[/]{escape(printable(fact))}", highlight=False, soft_wrap=True)
    if text:
        sys.stdout.write(text + "\n")
    return OK


def _state(resolved: tuple[int, Resolution] | None, now_ms: int) -> str:
    if resolved is None:
        return "open"
    at_ms, resolution = resolved
    why = f": {resolution.reason}" if resolution.reason else ""
    return f"{resolution.what} {shown_time(at_ms, now_ms)}{why}"
