"""Prints what other rules would have changed: totals per entity type, what it saves, and examples with reasons."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.replay_options import Wanted
from replay.diffing import Compared, Example
from replay.matching import KINDS, Kind, Match, differing
from replay.tally import Counts, match_as_json
from replay.unread import unread_lines
from schemas.change import EntityChange
from schemas.moments import shown_moment
from schemas.printable import printable

WIDE = 200
_HEADINGS: dict[Kind, str] = {
    "vanish": "vanish: there would be no change",
    "appear": "appear: there was no change then",
    "alter": "alter: the change would say something else",
    "split": "split: there would be more changes of the same notifications",
    "merge": "merge: there would be fewer changes of the same notifications",
}
_CHANGESET_SHOWN = 4


def print_match(match: Match) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps(match_as_json(match)) + "\n")


def print_compared(out: Console, wanted: Wanted, compared: Compared) -> None:
    """The account for people."""
    tally, total = compared.tally, compared.tally.total()
    whose = ", ".join(wanted.accounts) or "all accounts"
    rules = "the rules in force now" if wanted.rules == "now" else wanted.rules
    span = f"{shown_moment(wanted.from_ms)} to {shown_moment(wanted.to_ms)} UTC"
    _line(out, f"{whose}, {span}: {rules}, beside the rules of then")
    table = Table(box=None, padding=(0, 1))
    for name in ("type", "then", "now", *KINDS, "API reads\nthen", "now", "saved"):
        table.add_column(name, justify="left" if name == "type" else "right", no_wrap=True)
    for name, counts in sorted(tally.by_type.items()):
        table.add_row(Text(printable(name)), *_cells(counts))
    if len(tally.by_type) != 1:
        table.add_section()
        table.add_row("all", *_cells(total))
    Console(file=out.file, width=max(WIDE, out.width)).print(table)
    for kind, examples in compared.examples.items():
        if examples:
            _line(out, "")
            _line(out, _HEADINGS[kind], style="bold")
            for example in examples:
                _example(out, example)
            if more := total.kinds[kind] - len(examples):
                _line(out, f"  … and {more:,} more: --json shows all", style="dim")
    _line(out, "")
    if tally.still_open:
        many = f"{tally.still_open:,} " + ("entity" if tally.still_open == 1 else "entities")
        _line(out, f"{many} not judged: their windows were open where the live run has come to")
    for sentence in unread_lines(compared.unread, wanted.to_ms, "compared"):
        _line(out, sentence, style="yellow")
    _line(out, _verdict(total, is_part=bool(tally.still_open or compared.unread)), style="bold")


def _cells(counts: Counts) -> list[str]:
    numbers = (
        counts.then,
        counts.now,
        *(counts.kinds[kind] for kind in KINDS),
        counts.reads_then,
        counts.reads_now,
        counts.reads_saved,
    )
    return [f"{number:,}" for number in numbers]


def _verdict(total: Counts, *, is_part: bool) -> str:
    if not any(total.kinds[kind] for kind in KINDS if kind != "same"):
        judged = " in what was judged" if is_part else ""
        return f"nothing differs{judged}: {total.then:,} changes, the same"
    fewer = total.then - total.now
    changes = f"{abs(fewer):,} changes {'fewer' if fewer >= 0 else 'more'}: {total.now:,} instead of {total.then:,}"
    saved = total.reads_saved
    reads = f"at most {abs(saved):,} API reads of the mirror {'saved' if saved >= 0 else 'more'}"
    return f"{changes}; {reads} (it reads an entity once for several changes that wait)"


def _example(out: Console, example: Example) -> None:
    match = example.match
    first = match.changes[0]
    _line(out, f"  {first.account} {first.subject}")
    for side, changes in (("then", match.then), ("now", match.now)):
        for change in changes:
            _line(out, f"    {side:<4}  {_told(change)}")
    if match.kind == "alter" and len(match.then) == len(match.now) == 1:
        _line(out, f"    differs in {', '.join(differing(match.then[0], match.now[0]))}", style="dim")
    for reason in example.reasons:
        _line(out, f"    filtered: {reason}", style="dim")


def _told(change: EntityChange) -> str:
    names = [entry.name for entry in change.changeset]
    more = f" and {len(names) - _CHANGESET_SHOWN} more" if len(names) > _CHANGESET_SHOWN else ""
    fields = f" ({', '.join(names[:_CHANGESET_SHOWN])}{more})" if names else ""
    number = f"{change.notifications:,} notification" + ("" if change.notifications == 1 else "s")
    due = (change.due_ms - change.opened_ms) / 1000
    when = f"{shown_moment(change.opened_ms)} +{due:.1f} s"
    return f"{when}  {change.action}{fields}, {number}, closed by {change.closed_by}"


def _line(out: Console, line: str, *, style: str = "") -> None:
    # Names of fields, reasons and accounts come from outside.
    out.print(Text(printable(line), style), soft_wrap=True)
