"""What a sink is: the one method that the worker calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.change import EntityChange
from sinks.outcome import Outcome


class Sink(Protocol):
    """Acts on changes. The worker calls it for one entity at a time in order, for different entities at once."""

    @property
    def name(self) -> str:
        """Names the sink on servicetrade.deliveries, in dead letters, metrics and logs."""

    async def deliver(self, changes: Sequence[EntityChange]) -> Sequence[Outcome]:
        """Act on the changes of one entity that are waiting: at least one, the oldest first.

        May be called again for changes that it has acted on: after a crash, or when partitions move. May be cancelled.

        Returns:
            The outcomes of the first ones, at least of one. The others are given again, with what has come since.

        Raises:
            RetryLater: not now; the same changes are given again after a pause, and the entity waits so long.
            Reject: the first change can never be delivered and goes to the dead letters; the others are given again.
            Exception: anything else crashes the worker.
        """
        ...
