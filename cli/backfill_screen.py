"""Shows how far a backfill is: a bar per type on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from sinks.backfill import Told

LINE_EVERY_S = 10.0


class Screen(AbstractContextManager["Screen"]):
    """For as long as the block lasts.

    Args:
        err: where to show it.
    """

    def __init__(self, err: Console) -> None:
        self._err = err
        self._bars: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._said_at: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[line]}", markup=False),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )

    def __enter__(self) -> Self:
        """Begin."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End; the bars go."""
        self._progress.stop()

    def tell(self, told: Told) -> None:
        """Show what a backfill tells."""
        name, now = told.progress.entity_type, time.monotonic()
        began, items = self._began.setdefault(name, (now, told.progress.items_read))
        rate = (told.progress.items_read - items) / (now - began) if now > began else 0.0
        line = self._line(told, rate)
        if self._err.is_terminal:
            self._show_bar(told, line)
        elif told.trouble or told.progress.finished_at or now - self._said_at.get(name, 0.0) >= LINE_EVERY_S:
            self._said_at[name] = now
            self._err.print(Text(f"{name}: {line}"), soft_wrap=True)

    def _line(self, told: Told, rate: float) -> str:
        progress = told.progress
        of = f"page {progress.pages_read:,} of {progress.pages:,}" if progress.pages else "page 0"
        counts = f"{progress.items_read:,} read, {progress.rows_written:,} written, {rate:,.0f}/s"
        parts = [of, counts]
        if progress.finished_at is not None:
            parts = ["finished", counts]
        elif told.last_pass:
            parts = ["what was updated meanwhile", counts]
        if told.trouble:
            parts.append(f"tried again: {told.trouble}")
        return ", ".join(parts)

    def _show_bar(self, told: Told, line: str) -> None:
        progress = told.progress
        bar = self._bars.get(progress.entity_type)
        if bar is None:
            bar = self._bars[progress.entity_type] = self._progress.add_task(progress.entity_type, total=None, line="")
        self._progress.update(bar, completed=progress.pages_read, total=progress.pages, line=line)
