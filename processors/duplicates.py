"""Pure: remembers which notifications were seen within the horizon."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Sighting = int | tuple[int, int] | dict[int, int]
"""When a message's elements were last seen: index 0 alone; or (time, n): the indices 0 to n-1; or each index's time.
Most messages have one element: this form keeps the memory of one below 200 bytes."""
Generation = dict[str, dict[str, Sighting]]
"""By account and message id."""


ALONE = (0,)
"""The index of a message's only element."""


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
        self._younger: Generation = {}
        self._older: Generation = {}
        self._younger_since: int | None = None

    def __len__(self) -> int:
        return sum(len(messages) for one in (self._younger, self._older) for messages in one.values())

    def see(self, account: str, message_id: str, indices: Sequence[int], now_ms: int) -> Collection[int]:
        """Remember that these elements of the account's message occurred now.

        Returns:
            Those of `indices` that had occurred within the horizon before, repeats included.
        """
        since = self._younger_since
        if since is None or now_ms - since > self._horizon_ms:
            self._turn_over(now_ms)
        messages = self._younger.get(account)
        if messages is None:
            messages = self._younger[account] = {}
        before = messages.get(message_id)
        if before is None:
            older = self._older.get(account)
            if older:
                before = older.pop(message_id, None)
        if before is None and indices is ALONE:  # as most, if all is well
            messages[message_id] = now_ms
            return ()
        count = len(indices)
        whole = count > 0 and indices[-1] == count - 1  # ascending, so this means 0 to count-1
        sighting: Sighting = now_ms if count == 1 else (now_ms, count)
        if before is None:
            messages[message_id] = sighting if whole else dict.fromkeys(indices, now_ms)
            return ()
        if not isinstance(before, dict):
            seen_ms, seen_count = (before, 1) if isinstance(before, int) else before
            fresh_enough = now_ms - seen_ms <= self._horizon_ms
            repeated = {index for index in indices if index < seen_count} if fresh_enough else set()
            if whole and count >= seen_count:
                messages[message_id] = sighting
                return repeated
            before = dict.fromkeys(range(seen_count), seen_ms)
        else:
            repeated = {i for i in indices if i in before and now_ms - before[i] <= self._horizon_ms}
        before.update(dict.fromkeys(indices, now_ms))
        messages[message_id] = before
        return repeated

    def _turn_over(self, now_ms: int) -> None:
        if self._younger_since is not None:
            self._older, self._younger = self._younger, {}
        self._younger_since = now_ms
