"""How a backfill shows itself: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cli.backfill_screen import backfill_screen
from sinks.backfill import Told
from sinks.backfill_store import Progress

BEGUN = Progress(
    account="acme",
    entity_type="location",
    since="7d",
    since_at=1,
    began_at=1,
    finished_at=None,
    run="x",
    page_limit=500,
    pages_read=0,
    pages=None,
    items_read=0,
    rows_written=0,
)
HALF = replace(BEGUN, pages_read=6, pages=12, items_read=3000, rows_written=2900)
STEPS = (
    Told(progress=BEGUN),
    Told(progress=HALF),
    Told(progress=HALF, trouble="HTTP 503: [/no] markup"),
    Told(progress=replace(HALF, pages_read=12, items_read=6000), last_pass=True),
    Told(progress=replace(HALF, pages_read=12, items_read=6000, finished_at=2)),
)


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    with backfill_screen(Console(file=out, force_terminal=terminal, width=160)) as tell:
        for told in STEPS:
            tell(told)
    return out.getvalue()


def test_without_a_terminal_it_begins_and_ends_with_a_line_and_says_what_is_wrong() -> None:
    first, trouble, last = shown(terminal=False).splitlines()
    assert first == "location: page 0, 0 read, 0 written, 0/s"
    assert trouble.startswith("location: page 6 of 12, 3,000 read, 2,900 written, ")
    assert trouble.endswith("tried again: HTTP 503: [/no] markup")
    assert last.startswith("location: finished, 6,000 read, 2,900 written, ")


@pytest.mark.parametrize("told", STEPS, ids=["begun", "half", "trouble", "last pass", "finished"])
def test_on_a_terminal_there_is_a_bar(told: Told) -> None:
    out = io.StringIO()
    with backfill_screen(Console(file=out, force_terminal=True, width=160)) as tell:
        tell(told)
    assert "location" in out.getvalue()
    assert f"{told.progress.items_read:,} read" in out.getvalue()
    assert (told.trouble or "") in out.getvalue()
