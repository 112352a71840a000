"""Pure: how long an entity waits after a failed delivery."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Pauses that double with each failure in a row, in seconds."""

    first_s: float = 0.5
    longest_s: float = 60.0
    """Where they stop growing; what the other side asks for can be longer."""

    def after(self, failures: int, *, asked_s: float | None, jitter: float) -> float:
        """The pause after so many failures in a row (from 1 on).

        Args:
            failures: in a row.
            asked_s: what the other side asked for at least, a Retry-After.
            jitter: random, from 0 to 1, so that what failed together does not come back together: adds up to half.
        """
        grown = min(self.first_s * 2.0 ** min(failures - 1, 30), self.longest_s)
        # What was asked for is a minimum, so jitter only ever adds, and little to a pause that is long already.
        return max(grown, asked_s or 0.0) + jitter * grown / 2
