"""What a sink is: the one method that the worker calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from sinks.arrival import Arrival

Item = TypeVar("Item")
Out_co = TypeVar("Out_co", covariant=True)

Fate = Literal["account", "sink"]


class Sink(Protocol[Item, Out_co]):
    """Acts on what a topic tells: on changes, and on commands.

    The worker calls it for one entity at a time in order, for different entities at once.
    """

    @property
    def name(self) -> str:
        """Names the sink on servicetrade.deliveries, in dead letters, metrics and logs."""

    @property
    def fate(self) -> Fate:
        """What is in trouble if several entities fail in a row: their account, or all that the sink delivers."""

    async def deliver(self, arrivals: Sequence[Arrival[Item]]) -> Sequence[Out_co]:
        """Act on what is waiting for one entity: at least one arrival, the oldest first.

        May be called again for arrivals that it has acted on: after a crash, or when partitions move. May be cancelled.
        An arrival that is marked `again` was redriven by a person: it is acted on whatever the sink remembers.

        Returns:
            The outcomes of the first ones, at least of one. The others are given again, with what has come since.

        Raises:
            RetryLater: not now; the same arrivals are given again after a pause, and what its scope says waits so long.
            Reject: the first arrival can never be delivered and goes to the dead letters; the others are given again.
            Halt: nothing can be delivered any more until a person has looked at it.
            Exception: anything else crashes the worker.
        """
        ...
