"""What the explorer needs to know of graphs: numbers for things, the way to a state, and where no end is in sight."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Numbered(Generic[T]):
    """Numbers things in the order in which they turn up."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self.items: list[T] = []

    def number(self, item: T) -> int:
        """Its number; equal things have the same."""
        number = self._numbers.setdefault(item, len(self.items))
        if number == len(self.items):
            self.items.append(item)
        return number


def path_to(states: Sequence[T], parents: Sequence[int], at: int) -> list[T]:
    """The states from the first one to number `at`, each after its parent."""
    path = [states[at]]
    while at:
        at = parents[at]
        path.append(states[at])
    return path[::-1]


def first_without_end(count: int, finals: Sequence[int], sources: Sequence[int], targets: Sequence[int]) -> int | None:
    """The first state from which no final one is reached by these edges."""
    reaches = bytearray(count)
    for final in finals:
        reaches[final] = True
    found = True
    while found:
        found = False
        # Backwards, because most edges lead on to states that were found later.
        for source, target in zip(reversed(sources), reversed(targets), strict=True):
            if reaches[target] and not reaches[source]:
                reaches[source] = found = True
    stuck = reaches.find(False)
    return None if stuck < 0 else stuck
