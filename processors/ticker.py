"""Appends a tick to the log of a partition that is silent while windows are due: silence has to be in the log too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from processors.owned import Owned
from runtime import metrics
from runtime.kafka import Partition, Producer, acknowledged
from schemas.topics import CONTROL_HEADER, CONTROL_TICK

BUSY_S = 0.05
"""A partition that had a record so recently is likely to get another one soon."""
PATIENCE_S = 0.02
"""How long that one is waited for: it tells the time as well as a tick, and does not make the log longer."""
IN_FLIGHT_S = 1.0
"""How soon to look again after a tick that was sent but not acknowledged yet."""


class Ticker:
    """Watches the partitions that `owned` tells; at most one tick of each is outstanding.

    Only records move a partition's time. The worker's clock decides nothing but when it is worth asking the broker,
    by way of a record, what time it is: a tick too early or too many is harmless.
    """

    def __init__(self, producer: Producer, owned: Callable[[], Iterable[Owned]]) -> None:
        self._producer = producer
        self._owned = owned
        self._moved = asyncio.Event()

    def moved(self) -> None:
        """Tell that a partition's position, time or windows are others than before."""
        self._moved.set()

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            KafkaError: a tick could not be appended.
        """
        while True:
            self._moved.clear()
            now = time.monotonic()
            waits = [self._tick_if_due(owned, now) for owned in self._owned()]
            wait_s = min((wait for wait in waits if wait is not None), default=None)
            try:
                async with asyncio.timeout(wait_s):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def tick(self, owned: Owned) -> None:
        """Append a tick to the partition."""
        owned.tick = asyncio.create_task(self._append(owned.partition))

    def _tick_if_due(self, owned: Owned, now: float) -> float | None:
        """Append a tick if the earliest window is due; else the seconds until it is, None if there is no need."""
        if owned.tick_outstanding():
            return IN_FLIGHT_S if owned.tick is not None and not owned.tick.done() else None
        due_ms, log_time_ms = owned.consolidator.next_due_ms(), owned.log_time_ms(now)
        if due_ms is None or log_time_ms is None:
            return None
        wait_s = (due_ms + 1 - log_time_ms) / 1000  # a window closes by a record after its due time
        if now - owned.read_at < BUSY_S:
            wait_s += PATIENCE_S
        if wait_s > 0:
            return wait_s
        self.tick(owned)
        return IN_FLIGHT_S

    async def _append(self, partition: Partition) -> int:
        metrics.TICKS.inc()
        sent = await self._producer.send(
            partition.topic,
            key=None,
            value=b"",
            headers=[(CONTROL_HEADER, CONTROL_TICK)],
            partition=partition.number,
        )
        return (await acknowledged(sent)).offset
