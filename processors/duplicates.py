"""Pure: remembers which notifications were seen within the horizon."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Sighting = tuple[int, int] | dict[int, int]
"""Either (time, n): the indices 0 to n-1 were all last seen at that time; or each index with its own time."""


class RememberedMessages:
    """Which (account, messageId, index) occurred when, for at least the horizon and at most twice of it.

    Two generations stand in for an expiry queue: when the younger one spans a whole horizon, the older one can hold
    nothing that still counts and is dropped as a whole.
    """

    __slots__ = ("_horizon_ms", "_older", "_younger", "_younger_since")

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = horizon_ms
        self.forget()

    def forget(self) -> None:
        """Start anew, as if nothing had been seen."""
        self._younger: dict[str, Sighting] = {}
        self._older: dict[str, Sighting] = {}
        self._younger_since: int | None = None

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)

    def see(self, message: str, indices: Sequence[int], now_ms: int) -> Collection[int]:
        """Remember that these elements of `message` occurred now.

        Returns:
            Those of `indices` that had occurred within the horizon before, repeats included.
        """
        if self._younger_since is None or now_ms - self._younger_since > self._horizon_ms:
            self._turn_over(now_ms)
        before = self._younger.get(message)
        if before is None:
            before = self._older.pop(message, None)
        count = len(indices)
        whole = count > 0 and indices[-1] == count - 1  # ascending, so this means 0 to count-1
        if before is None:
            self._younger[message] = (now_ms, count) if whole else dict.fromkeys(indices, now_ms)
            return ()
        if isinstance(before, tuple):
            seen_ms, seen_count = before
            fresh_enough = now_ms - seen_ms <= self._horizon_ms
            repeated = {index for index in indices if index < seen_count} if fresh_enough else set()
            if whole and count >= seen_count:
                self._younger[message] = (now_ms, count)
                return repeated
            before = dict.fromkeys(range(seen_count), seen_ms)
        else:
            repeated = {i for i in indices if i in before and now_ms - before[i] <= self._horizon_ms}
        before.update(dict.fromkeys(indices, now_ms))
        self._younger[message] = before
        return repeated

    def _turn_over(self, now_ms: int) -> None:
        if self._younger_since is not None:
            self._older, self._younger = self._younger, {}
        self._younger_since = now_ms
