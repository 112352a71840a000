"""How findings and the results of examples look to a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from processors.why_filtered import why_filtered
from rules.check import CheckedRules
from rules.examples import ExampleResult, describe, notification_of, tally
from rules.file import located
from schemas.printable import printable

_COLOURS = {"error": "bold red", "warning": "yellow"}


def line(console: Console, text: str, *, style: str = "") -> None:
    """One line as it is, however wide; what a terminal would obey is made visible."""
    console.print(f"[{style}]{escape(printable(text))}[/]" if style else escape(printable(text)), **_AS_IS)


_AS_IS: Mapping[str, Any] = {"highlight": False, "soft_wrap": True}


def print_findings(console: Console, path: Path, checked: CheckedRules) -> None:
    """Each finding in a line, as compilers do, and how many there are."""
    for finding in checked.findings:
        place, _, sentence = located(path, finding).partition(str(finding))
        console.print(
            f"{escape(printable(place))}[{_COLOURS[finding.severity]}]{finding.severity}[/]: "
            f"{escape(printable(sentence or str(finding)))}",
            **_AS_IS,
        )


def count_findings(checked: CheckedRules) -> str:
    """How many errors and warnings there are, in words."""
    counts = (("error", len(checked.errors)), ("warning", len(checked.warnings)))
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts if count)


def print_examples(console: Console, path: Path, results: Sequence[ExampleResult], *, all_of_them: bool) -> None:
    """The examples that failed, or all, each with what was expected and what came; and how many there are."""
    for result in results:
        if all_of_them or not result.passed:
            _print_example(console, path, result)
    if results:
        line(console, tally(results))


def _print_example(console: Console, path: Path, result: ExampleResult) -> None:
    example = result.example
    mark, style = ("pass", "green") if result.passed else ("FAIL", "bold red")
    where = f"{path}:{example.line}" if example.line else str(path)
    console.print(f"[{style}]{mark}[/]  {escape(printable(f'{where}: {example.name} ({example.account})'))}", **_AS_IS)
    if result.passed:
        return
    for fault in result.faults:
        line(console, f"      {fault.about}: {fault.what}")
        line(console, f"        expected  {'nothing' if fault.expected is None else fault.expected}", style="green")
        line(console, f"        got       {'nothing' if fault.got is None else fault.got}", style="red")
    line(console, "      given")
    for given, verdict in zip(example.given, result.verdicts, strict=True):
        by = "" if given.user is None else f" by {given.user}"
        why = why_filtered(result.rules, notification_of(given)) if verdict == "filtered" else None
        told = f"{given.entity} {given.action}{by}: {verdict}{f': {why}' if why else ''}"
        line(console, f"        {given.at_ms / 1000:>8.3f} s  {told}")
    line(console, "      got" if result.changes else "      got no change")
    for change in result.changes:
        line(console, f"        {change.subject}: {describe(change)}")
