"""Pure: which of the changes that wait need no read: those before a deletion, and those that a read has covered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from schemas.change import EntityChange
from sinks.arrival import Arrival


def up_to_deletion(arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Arrival[EntityChange]]:
    """The first ones, as far as the newest of them is a deletion, which needs no read; empty if it never is."""
    newest, found = "", 0
    for count, arrival in enumerate(arrivals, 1):
        if arrival.item.sequence >= newest:
            newest = arrival.item.sequence
            if arrival.item.action == "deleted":
                found = count
    return arrivals[:found]


class Covered:
    """Which changes a read that was made has answered: all of the entity that had been appended before it began.

    Positions in the log and no clocks, so it is as true after the partition was somebody else's for a while. In memory
    only: what is forgotten costs a read.

    Args:
        most: entities that are remembered; the oldest are forgotten.
    """

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._ends: OrderedDict[tuple[int, str], int] = OrderedDict()

    def leading(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Arrival[EntityChange]]:
        """The first ones, as far as they need no read any more; deletions and what was redriven are never covered."""
        end = self._ends.get(_place(arrivals[0]), 0)
        count = 0
        for arrival in arrivals:
            if arrival.again or arrival.item.action == "deleted" or arrival.record.offset >= end:
                break
            count += 1
        return arrivals[:count]

    def remember(self, arrivals: Sequence[Arrival[EntityChange]], end: int) -> None:
        """These were served by a read before which every record below `end` had been appended."""
        place = _place(arrivals[0])
        self._ends.pop(place, None)
        # Where nothing stood behind them in the log there is nothing to cover.
        if end > 1 + max(arrival.record.offset for arrival in arrivals):
            self._ends[place] = end
            if len(self._ends) > self._most:
                self._ends.popitem(last=False)

    def forget(self, arrivals: Sequence[Arrival[EntityChange]]) -> None:
        """The entity is read anew for whatever comes."""
        self._ends.pop(_place(arrivals[0]), None)


def _place(arrival: Arrival[EntityChange]) -> tuple[int, str]:
    return arrival.record.partition, arrival.key
