"""Shows how far a backfill is: a bar per type on a terminal, a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from cli.progress import bars
from sinks.backfill import Told


@contextmanager
def backfill_screen(console: Console) -> Iterator[Callable[[Told], None]]:
    """For as long as the block lasts; gives what has to be told."""
    began: dict[str, tuple[float, int]] = {}
    with bars(console) as show:

        def tell(told: Told) -> None:
            progress, now = told.progress, time.monotonic()
            name, is_first = progress.entity_type, progress.entity_type not in began
            since, items = began.setdefault(name, (now, progress.items_read))
            rate = (progress.items_read - items) / (now - since) if now > since else 0.0
            due = is_first or bool(told.trouble) or progress.finished_at is not None
            show(name, progress.pages_read, progress.pages, _line(told, rate), due=due)

        yield tell


def _line(told: Told, rate: float) -> str:
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
