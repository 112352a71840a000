"""Keeps the results: bench/results/latest.json, and the tables between two markers in bench/README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LATEST = FOLDER / "results" / "latest.json"
README = FOLDER / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

Table = tuple[str, str, Sequence[str], Sequence[Sequence[str]]]
"""Title, a line about it, heads, rows."""


def read_latest() -> dict[str, Any]:
    """What was measured before, by section; nothing if nothing was."""
    if not LATEST.exists():
        return {}
    found: dict[str, Any] = json.loads(LATEST.read_text("utf-8"))
    return found


def write_latest(sections: Mapping[str, Any]) -> None:
    """Replace the results."""
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(sections, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_tables(tables: Sequence[Table]) -> None:
    """Replace what is between the markers of the README.

    Raises:
        ValueError: it has no markers.
    """
    text = README.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{README.name} has no markers for the results")
    README.write_text(f"{before}{BEGIN}\n\n{''.join(map(_markdown, tables))}{END}{after}", "utf-8")


def _markdown(table: Table) -> str:
    title, about, heads, rows = table
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {title}\n\n{about}\n\n{drawn}\n\n"
