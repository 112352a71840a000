"""Ends a worker that has work and does not move: Kafka clients can fall silent for good, and a new process helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from runtime import metrics
from runtime.kafka import KafkaError, LogReader, Partition
from runtime.lag import Lag, Place
from schemas.errors import ProcessorsError

LOOKS = 10
"""How often the watchdog looks within its time-out."""


class Stalls:
    """Pure: since when what stands where it stands.

    Args:
        timeout_s: how long that may last.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._since: dict[str, tuple[int, float]] = {}
        self._looked_at = 0.0

    def look(self, now: float, standing: Mapping[str, int]) -> str | None:
        """Note where everything stands that ought to move.

        Args:
            now: monotonic seconds.
            standing: by name, a number that changes with every move.

        Returns:
            The name of what has not moved for too long, if anything has.
        """
        if now - self._looked_at > self._timeout_s / 2:
            self._since = {}  # this process or the broker was away: nobody could have moved
        self._looked_at = now
        before = self._since
        self._since = {
            name: before[name] if name in before and before[name][0] == at else (at, now)
            for name, at in standing.items()
        }
        return next((name for name, (_, since) in self._since.items() if now - since > self._timeout_s), None)


async def watch(
    reader: LogReader,
    topic: str,
    *,
    timeout_s: float,
    places: Callable[[], Mapping[Partition, Place]],
    rebalance: Callable[[], int | None],
) -> None:
    """Compare what is owned with the ends of the log, until cancelled.

    Args:
        reader: asked for the ends; a broker that does not answer is nobody's stall.
        topic: full name of the raw log.
        timeout_s: how long a partition with records to read, or a rebalance, may stand still.
        places: what is owned: the next offset to consume, and when the record before it was appended.
        rebalance: while partitions are being assigned and restored, a number that changes as that goes on.

    Raises:
        ProcessorsError: names what stands still.
    """
    stalls, lag = Stalls(timeout_s), Lag[Partition]()
    while True:
        await asyncio.sleep(timeout_s / LOOKS)
        try:
            ends = await reader.ends(await reader.partitions(topic))
        except KafkaError:
            continue
        owned = places()
        behind = lag.look(time.time() * 1000, ends, owned)
        metrics.LAG_RECORDS.set(behind.records)
        metrics.LAG_SECONDS.set(behind.seconds)
        standing = {
            f"{one.topic}[{one.number}]": place.position for one, place in owned.items() if place.position < ends[one]
        }
        if (step := rebalance()) is not None:
            standing = {"the rebalance": step}
        if (still := stalls.look(time.monotonic(), standing)) is not None:
            raise ProcessorsError(f"{still} has not moved for {timeout_s:g} s, although the broker answers")
