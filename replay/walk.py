"""Pure: feeds one partition's records to the core and keeps the changes of the windows that belong to a range."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from processors.consolidator import Consolidator
from schemas.change import EntityChange
from schemas.record import Record


@dataclass(frozen=True, slots=True)
class Bounds:
    """A window belongs to the range if the record that opened it has an offset from `first` to below `second`."""

    first: int
    second: int

    def hold(self, change: EntityChange) -> bool:
        """Whether the change's window belongs to the range."""
        return self.first <= change.sources[0].offset < self.second


class RangeWalk:
    """One partition, from a position in the range on.

    Args:
        core: its state at the position where feeding begins.
        bounds: the range.
        types: only changes of these entity types come out; empty: all.
    """

    def __init__(self, core: Consolidator, bounds: Bounds, types: Collection[str] = ()) -> None:
        self.core = core
        self._bounds = bounds
        self._types = frozenset(types)

    def feed(self, records: Iterable[Record]) -> list[EntityChange]:
        """Consume records in offset order; returns the range's changes in the order in which they came out."""
        changes, types = self.core.feed(records).changes, self._types
        first, second = self._bounds.first, self._bounds.second
        return [
            change
            for change in changes
            if first <= change.sources[0].offset < second and (not types or change.entity_type in types)
        ]

    def is_over(self, position: int) -> bool:
        """Whether nothing more can come out, if all before this offset was fed."""
        if position < self._bounds.second:
            return False
        oldest = next(self.core.openings(), None)
        return oldest is None or oldest.offset >= self._bounds.second

    def still_open(self) -> int:
        """How many of the range's windows are open."""
        bounds, types = self._bounds, self._types
        return sum(
            bounds.first <= one.offset < bounds.second and (not types or one.key.split("/")[1] in types)
            for one in self.core.openings()
        )
