"""Shows how far a replay is: a bar on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

LINE_EVERY_S = 10.0


@contextmanager
def progress_on(err: Console, doing: str) -> Iterator[Callable[[int, int, int], None]]:
    """For as long as the block lasts; gives what has to be told: records read, records in all, changes so far."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[line]}", markup=False),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    began = said_at = time.monotonic()
    with bar:
        task = bar.add_task(doing, total=None, line="")

        def tell(read: int, total: int, changes: int) -> None:
            nonlocal said_at
            now = time.monotonic()
            rate = read / max(now - began, 1e-9)
            line = f"{read:,} of {total:,} records, {changes:,} changes, {rate:,.0f}/s"
            bar.update(task, completed=read, total=total, line=line)
            if not err.is_terminal and now - said_at >= LINE_EVERY_S:
                said_at = now
                left = (total - read) / rate if rate else 0.0
                err.print(Text(f"{doing}: {line}, {left:,.0f} s left"), soft_wrap=True)

        yield tell
