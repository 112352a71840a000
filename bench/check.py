"""Pure: compares what a contender put out with what the workload says has to come out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from bench.oracle import Piece, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How right an output is."""

    expected: int
    """Windows that have to come out."""
    right: int
    """Windows that came out: first and last time and count right, exactly once."""
    split: int
    """Of these, how many the processors' cuts have split; their pieces add up."""
    records: int
    """Output records."""
    lost: int
    """Notifications that are in no output record; below 0 if some are in several."""


def judge(expected: Iterable[Window], pieces: Iterable[Piece]) -> Verdict:
    """Tell the windows that came out right from the others."""
    found: defaultdict[str, list[Piece]] = defaultdict(list)
    records = counted = 0
    for piece in pieces:
        found[piece.key].append(piece)
        records += 1
        counted += piece.count
    wanted = right = split = notifications = 0
    for window in expected:
        wanted += 1
        notifications += window.count
        parts = [piece for piece in found[window.key] if window.first_ms <= piece.first_ms <= window.last_ms]
        if _adds_up(window, sorted(parts, key=lambda piece: piece.first_ms)):
            right += 1
            split += len(parts) > 1
    return Verdict(expected=wanted, right=right, split=split, records=records, lost=notifications - counted)


def _adds_up(window: Window, parts: list[Piece]) -> bool:
    return (
        bool(parts)
        and parts[0].first_ms == window.first_ms
        and parts[-1].last_ms in (window.last_ms, None)
        and sum(part.count for part in parts) == window.count
        and all(part.is_cut for part in parts[:-1])
    )
