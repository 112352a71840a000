"""Shows an audit: a table of the accounts, examples of differences, and the verdict."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from audit.records import What
from audit.report import AccountFigures, Report

EXAMPLES = 20
NO_ACCOUNT = "(no account)"
WIDE = 200
"""Characters: room for the table whatever the terminal or pipe says; it takes no more than it needs."""

_COLUMNS = (
    "account",
    "notifi-\ncations",
    "merged",
    "dupli-\ncates",
    "filtered",
    "quaran-\ntined",
    "still\nopen",
    "changes\nexpected",
    "found",
    "missing",
    "extra",
    "wrong",
    "repeats",
)
_OTHERS: tuple[tuple[What, str], ...] = (("dead letter", "dead letters"), ("rules", "copies of rules"))
_FIGURES = ("expected", "found", "missing", "extra", "wrong", "repeats")


def show(report: Report, out: Console) -> None:
    """Print the report for people."""
    table = Table(box=None, padding=(0, 1))
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "account" else "right", no_wrap=True)
    for account, figures in sorted(report.figures.items()):
        table.add_row(account or NO_ACCOUNT, *(f"{number:,}" for number in _row(figures)))
    if len(report.figures) > 1:
        sums = [sum(column) for column in zip(*map(_row, report.figures.values()), strict=True)]
        table.add_section()
        table.add_row("all", *(f"{number:,}" for number in sums))
    # A console never prints wider than it is, and cuts figures to fit.
    Console(file=out.file, width=max(WIDE, out.width)).print(table)
    for what, name in _OTHERS:
        _line(out, f"{name}: " + ", ".join(f"{report.total(figure, what):,} {figure}" for figure in _FIGURES))
    _examples(report, out)
    _line(out, report.verdict(), style="bold green" if report.agrees else "bold red")


def _row(figures: AccountFigures) -> tuple[int, ...]:
    changes = figures.compared["change"]
    return (
        figures.notifications,
        figures.merged,
        figures.duplicates,
        figures.filtered,
        figures.quarantined,
        figures.still_open,
        changes.expected,
        changes.found,
        changes.missing,
        changes.extra,
        changes.wrong,
        changes.repeats,
    )


def _examples(report: Report, out: Console) -> None:
    for difference in report.differences[:EXAMPLES]:
        _line(out, f"{difference.kind:<12} {report.sentence(difference)}")
    more = sum(report.counts.values()) - min(EXAMPLES, len(report.differences))
    if more:
        _line(out, f"... and {more:,} more: --json shows all")


def _line(out: Console, line: str, *, style: str = "") -> None:
    # As text: an offset in square brackets is no markup.
    out.print(Text(line, style), soft_wrap=True)
