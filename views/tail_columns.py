"""Lines one below the other: what a line and a topic's columns are, and how figures and times are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.record import LogRecord
from sinks.letter_view import printable
from views.tail_filter import About

_LAST_S = 253_402_300_799
_SPANS = (("ms", 1, 1_000), ("s", 1_000, 120_000), ("min", 60_000, 7_200_000), ("h", 3_600_000, 172_800_000))
_TENTHS_MS = 10_000


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


def shown_span(span_ms: float) -> str:
    """A length of time in its largest unit that leaves a figure: 12 ms, 3.4 s, 12 min, 5 h, 2 d."""
    for unit, length_ms, below_ms in _SPANS:
        if span_ms < below_ms:
            return f"{span_ms / length_ms:.{1 if unit == 's' and span_ms < _TENTHS_MS else 0}f} {unit}"
    return f"{span_ms / 86_400_000:,.0f} d"


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


def local_moment(timestamp_ms: int) -> datetime:
    """The time on this machine's clock of Unix milliseconds; what no calendar holds is the nearest that it does."""
    return datetime.fromtimestamp(min(max(0, timestamp_ms / 1000), _LAST_S)).astimezone()
