"""Pure: one account's sessions, with ServiceTrade's pruning at the hard limit."""

from __future__ import annotations

# Per user: soft limit 100, hard limit 200; beyond it the oldest go until 100 are left
# (ServiceTrade, "Working with the ServiceTrade API").
SOFT_LIMIT = 100
HARD_LIMIT = 200


class SessionTable:
    """Live sessions in order of creation, and the tokens of those that ended.

    `peak` is the most that were live at a time.
    """

    def __init__(self) -> None:
        self._live: dict[str, float] = {}
        self._ended: set[str] = set()
        self._used: set[str] = set()
        self.peak = 0

    def __len__(self) -> int:
        return len(self._live)

    def is_live(self, token: str) -> bool:
        """Whether the token opens the API now."""
        return token in self._live

    def has_issued(self, token: str) -> bool:
        """Whether the token was ever made here, dead or alive."""
        return token in self._live or token in self._ended

    def open(self, token: str, now: float) -> list[str]:
        """Add a session made at `now` (Unix seconds); returns the tokens that were pruned for it."""
        self._live[token] = now
        pruned = self.prune(SOFT_LIMIT) if len(self._live) > HARD_LIMIT else []
        self.peak = max(self.peak, len(self._live))
        return pruned

    def prune(self, keep: int) -> list[str]:
        """End the oldest sessions until `keep` are left; returns their tokens."""
        pruned = list(self._live)[: max(0, len(self._live) - keep)]
        for old in pruned:
            self.end(old)
        return pruned

    def note_use(self, token: str) -> None:
        """Remember that a request came with this token, live or ended."""
        self._used.add(token)

    @property
    def used(self) -> int:
        """How many different tokens requests came with."""
        return len(self._used)

    def end(self, token: str) -> bool:
        """End one session; False if it was not live."""
        if token not in self._live:
            return False
        del self._live[token]
        self._ended.add(token)
        return True

    def end_all(self) -> int:
        """End every session; returns how many were live."""
        tokens = list(self._live)
        for token in tokens:
            self.end(token)
        return len(tokens)
