"""`python -m bench`: measure, show the tables, keep the results."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.environment import NotAtHandError
from bench.results_file import Table as Drawn
from bench.results_file import read_latest, write_latest, write_tables
from bench.sections import SECTIONS, Options, Section

app = App(name="bench", help="Measure the receiver and the processors beside their peers.")
_out = Console()

DEFAULT_NOTIFICATIONS = 300_000
DEFAULT_RUNS = 3
DEFAULT_SECONDS = 10
_SECTIONS = {section.name: section for section in SECTIONS}
_CONTENDERS = tuple(dict.fromkeys(name for section in SECTIONS for name in section.contenders))


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
    seconds: Annotated[int, Parameter(help="Of each run of the ingest section.")] = DEFAULT_SECONDS,
    only: Annotated[str, Parameter(help=f"Of {','.join(_CONTENDERS)}, or of the sections; nothing is kept then.")] = "",
    sections: Annotated[str, Parameter(help=f"Of {','.join(_SECTIONS)}.")] = "",
    million: Annotated[bool, Parameter(help="The long run of ours and Kafka Streams too.", negative="")] = False,
) -> int:
    """Measure; what a whole run finds goes into bench/results/latest.json and bench/README.md."""
    alone = tuple(name for name in only.split(",") if name)
    asked = (*(name for name in sections.split(",") if name), *(name for name in alone if name in _SECTIONS))
    contenders = tuple(name for name in alone if name not in _SECTIONS)
    for what, unknown in (("section", set(asked) - set(_SECTIONS)), ("contender", set(contenders) - set(_CONTENDERS))):
        if unknown:
            _out.print(f"there is no {what} {', '.join(sorted(unknown))}", highlight=False)
            return 2
    choice = _Choice(
        sections=tuple(one for one in SECTIONS if _is_asked(one, asked, contenders, million=million)),
        options=Options(notifications=notifications, runs=runs, seconds=seconds, only=contenders),
        is_whole=not only and (notifications, runs, seconds) == (DEFAULT_NOTIFICATIONS, DEFAULT_RUNS, DEFAULT_SECONDS),
    )
    return _run(choice)


def _is_asked(section: Section, asked: tuple[str, ...], contenders: tuple[str, ...], *, million: bool) -> bool:
    if section.contenders and contenders and not set(contenders) & set(section.contenders):
        return False
    if section.name == "million" and million:
        return True
    return section.name in asked if asked else section.is_default


def _run(choice: _Choice) -> int:
    latest, code = read_latest(), 0
    for section in choice.sections:
        with _out.status(section.title) as status:

            def report(line: str, section: Section = section, status: Any = status) -> None:
                status.update(escape(f"{section.title}: {line}"))
                _out.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/]  {escape(line)}", highlight=False, soft_wrap=True)

            only = tuple(name for name in choice.options.only if name in section.contenders)
            try:
                found = section.measure(report, replace(choice.options, only=only))
            except NotAtHandError as error:  # the other sections can do without
                _out.print(f"[bold red]{section.title}:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
                code = 1
                continue
        for table in section.tables(found):
            _show(table)
        latest[section.name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "cpus": os.cpu_count(), **found}
        if choice.is_whole:
            _keep(latest)
    return code


def _keep(latest: dict[str, Any]) -> None:
    write_latest(latest)
    found = [(section, latest[section.name]) for section in SECTIONS if section.name in latest]
    write_tables([table for section, figures in found for table in section.tables(figures, _about(section, figures))])


def _about(section: Section, figures: dict[str, Any]) -> str:
    return f"{figures['date']}, {figures['cpus']} CPUs. {section.about(figures)}".strip()


def _show(drawn: Drawn) -> None:
    title, _, heads, rows = drawn
    table = Table(title=title, box=SIMPLE)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(escape(cell.strip("*")) for cell in row))
    _out.print(table)


if __name__ == "__main__":
    sys.exit(app())
