"""Lines one below the other: what a line and a topic's columns are, and how wide they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.printable import printable
from schemas.record import LogRecord
from views.tail_filter import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record, as it is shown."""

    about: About
    cells: tuple[str, ...]
    """After the time: in the order of the topic's columns."""
    body: dict[str, Any]
    """For programs."""
    style: str = ""
    """How its most telling cell looks on a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one topic is shown."""

    columns: tuple[str, ...]
    read: Callable[[LogRecord], Line]
    """What a record says. ValueError: it is none of the topic's."""
    right: frozenset[str] = frozenset()
    """Columns of figures."""
    styled: str = ""
    """The column whose cell has the line's style."""


@dataclass(slots=True)
class Columns:
    """Lines one below the other: a column grows with what comes, and never shrinks."""

    view: View
    widths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.widths = self.widths or [len(name) for name in self.view.columns]

    def padded(self, cells: Sequence[str]) -> list[str]:
        """The cells, printable and as wide as their columns; the last is as long as it is."""
        shown = [printable(cell) for cell in cells]
        self.widths = [max(width, len(cell)) for width, cell in zip(self.widths, shown, strict=True)]
        last = len(shown) - 1
        return [
            cell if at == last else cell.rjust(width) if name in self.view.right else cell.ljust(width)
            for at, (cell, width, name) in enumerate(zip(shown, self.widths, self.view.columns, strict=True))
        ]
