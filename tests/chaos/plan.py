"""Which fault comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.faults import Kind

GAP_S = (1.5, 3.5)
"""Quiet time before each fault, in seconds: from, to."""


@dataclass(slots=True)
class Plan:
    """Rounds of kinds: first as many as fit, each once; then all, round after round, whichever still fits."""

    rng: Random
    kinds: Sequence[Kind]
    _first: list[Kind] | None = None
    _round: list[Kind] = field(default_factory=list)

    def next(self, remaining_s: float) -> tuple[float, Kind] | None:
        """The pause before the next fault and its kind; None when none fits into the remaining seconds.

        The first round is carried through, also where a slow machine needs longer for it than was allowed.
        """
        pause_s = self.rng.uniform(*GAP_S)
        if self._first is None:
            self._first = self._fitting(remaining_s)
        if self._first:
            return pause_s, self._first.pop()
        for _ in range(2):
            for kind in self._round:
                if pause_s + kind.cost_s <= remaining_s:
                    self._round.remove(kind)
                    return pause_s, kind
            self._round = self.rng.sample(self.kinds, len(self.kinds))
        return None

    def _fitting(self, seconds: float) -> list[Kind]:
        """As many kinds as fit, in any order."""
        chosen: list[Kind] = []
        for kind in sorted(self.kinds, key=lambda kind: kind.cost_s):
            seconds -= kind.cost_s + sum(GAP_S) / 2
            if seconds < 0:
                break
            chosen.append(kind)
        return self.rng.sample(chosen, len(chosen))
