"""A partition that this worker owns: its state, and what is needed to know the log's time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from processors.consolidator import Consolidator
from runtime.kafka import Partition


@dataclass(slots=True)
class Owned:
    """One owned partition; made by a restore, forgotten at a rebalance."""

    partition: Partition
    consolidator: Consolidator
    position: int
    """Offset of the next record to consume."""
    acknowledged: int
    """Everything that comes out of the records before this offset is in the topics."""
    committed: int
    last_append_ms: int | None
    read_at: float
    """Monotonic seconds at which the record with that append time was read."""
    tick: asyncio.Task[int] | None = None
    """The one outstanding tick; resolves to its offset."""
    sending: asyncio.Future[None] | None = None
    """What the last batch amounted to, on its way."""

    async def sent(self) -> None:
        """Wait until everything that came out so far is acknowledged; for ever, if it is not: then the worker ends."""
        if self.sending is not None:
            await asyncio.shield(self.sending)

    def log_time_ms(self, now: float) -> float | None:
        """The least that the partition's time can be at monotonic second `now`, or None if nothing was read yet."""
        return None if self.last_append_ms is None else self.last_append_ms + (now - self.read_at) * 1000

    def tick_outstanding(self) -> bool:
        """Whether a tick was sent that has not been consumed.

        Raises:
            KafkaError: it could not be sent.
        """
        return self.tick is not None and (not self.tick.done() or self.tick.result() >= self.position)
