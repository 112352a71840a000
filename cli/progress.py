"""Shows how far something is: bars on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.text import Text

from cli.console import ERR
from schemas.moments import shown_span

LINE_EVERY_S = 10.0


class Tell(Protocol):
    """Is told how far something is."""

    def __call__(self, done: int, total: int, more: str = "", /) -> None:
        """`done` out of `total`; `more` stands beside it for people."""
        ...


class Show(Protocol):
    """Shows one of several things that are under way."""

    def __call__(self, name: str, done: int, total: int | None, line: str, /, *, due: bool = False) -> None:
        """`done` out of `total` (None: nobody knows); without a terminal a line that is `due` waits for no time."""
        ...


@contextmanager
def progress(doing: str, unit: str = "", console: Console = ERR) -> Iterator[Tell]:
    """For as long as the block lasts; gives what has to be told.

    Args:
        doing: what is under way.
        unit: of the figures: records.
        console: where to show it.
    """
    began = time.monotonic()
    with bars(console) as show:

        def tell(done: int, total: int, more: str = "", /) -> None:
            rate = done / max(time.monotonic() - began, 1e-9)
            counted = f"{done:,} of {total:,}{f' {unit}' if unit else ''}"
            line = ", ".join(part for part in (counted, more, f"{rate:,.0f}/s") if part)
            if rate and not console.is_terminal:  # a bar has a column for it
                line += f", {shown_span(round((total - done) / rate) * 1000)} left"
            show(doing, done, total, line)

        yield tell


@contextmanager
def bars(console: Console) -> Iterator[Show]:
    """One below the other for as long as the block lasts, one for each name; gives what has to be told."""
    if console.is_terminal:
        with _drawn(console) as show:
            yield show
        return
    said_at: dict[str, float] = {}
    began = time.monotonic()

    def say(name: str, _done: int, _total: int | None, line: str, /, *, due: bool = False) -> None:
        now = time.monotonic()
        if due or now - said_at.get(name, began) >= LINE_EVERY_S:
            said_at[name] = now
            console.print(Text(f"{name}: {line}"), soft_wrap=True)

    yield say


@contextmanager
def _drawn(console: Console) -> Iterator[Show]:
    # What most commands never need takes a third of the time in which they start.
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[line]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as drawn:

        def draw(name: str, done: int, total: int | None, line: str, /, *, due: bool = False) -> None:  # noqa: ARG001 - see Show
            task = tasks.get(name)
            if task is None:
                task = tasks[name] = drawn.add_task(name, total=None, line="")
            drawn.update(task, completed=done, total=total, line=line)

        yield draw
