"""`python -m bench`: measure, show the tables, keep the results."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.contenders import CONTENDERS
from bench.results_file import read_latest, write_latest, write_tables
from bench.sections import SECTIONS, Options, Section

app = App(name="bench", help="Measure the processors beside their peers.")
_out = Console()

DEFAULT_NOTIFICATIONS = 300_000
DEFAULT_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    sections: tuple[Section, ...]
    options: Options
    is_whole: bool


@app.default
def bench(
    *,
    notifications: Annotated[int, Parameter(help="Of the throughput contest.")] = DEFAULT_NOTIFICATIONS,
    runs: Annotated[int, Parameter(help="Of each contender.")] = DEFAULT_RUNS,
    only: Annotated[str, Parameter(help=f"Of {','.join(one.name for one in CONTENDERS)}; nothing is kept then.")] = "",
    sections: Annotated[str, Parameter(help=f"Of {','.join(one.name for one in SECTIONS)}.")] = "",
    million: Annotated[bool, Parameter(help="The long run of ours and Kafka Streams too.", negative="")] = False,
) -> int:
    """Measure; what a whole run finds goes into bench/results/latest.json and bench/README.md."""
    asked = tuple(name for name in sections.split(",") if name)
    if unknown := set(asked) - {section.name for section in SECTIONS}:
        _out.print(f"there is no section {', '.join(sorted(unknown))}", highlight=False)
        return 2
    choice = _Choice(
        sections=tuple(one for one in SECTIONS if _is_asked(one, asked, million=million)),
        options=Options(notifications=notifications, runs=runs, only=tuple(name for name in only.split(",") if name)),
        is_whole=not only and (notifications, runs) == (DEFAULT_NOTIFICATIONS, DEFAULT_RUNS),
    )
    return _run(choice)


def _is_asked(section: Section, asked: tuple[str, ...], *, million: bool) -> bool:
    if section.name == "million" and million:
        return True
    return section.name in asked if asked else section.is_default


def _run(choice: _Choice) -> int:
    latest = read_latest()
    for section in choice.sections:
        with _out.status(section.title) as status:

            def report(line: str, section: Section = section, status: Any = status) -> None:
                status.update(escape(f"{section.title}: {line}"))
                _out.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/]  {escape(line)}", highlight=False, soft_wrap=True)

            found = section.measure(report, choice.options)
        _show(section, found)
        latest[section.name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "cpus": os.cpu_count(), **found}
        if choice.is_whole:
            _keep(latest)
    return 0


def _keep(latest: dict[str, Any]) -> None:
    write_latest(latest)
    write_tables(
        [
            (section.title, _about(section, latest[section.name]), section.heads, section.rows(latest[section.name]))
            for section in SECTIONS
            if section.name in latest
        ]
    )


def _about(section: Section, figures: dict[str, Any]) -> str:
    return f"{figures['date']}, {figures['cpus']} CPUs. {section.about(figures)}".strip()


def _show(section: Section, figures: dict[str, Any]) -> None:
    table = Table(title=section.title, box=SIMPLE)
    for number, head in enumerate(section.heads):
        table.add_column(head, justify="right" if number else "left")
    for row in section.rows(figures):
        table.add_row(*(escape(cell.strip("*")) for cell in row))
    _out.print(table)


if __name__ == "__main__":
    sys.exit(app())
