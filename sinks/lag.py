"""Measures, beside the work, how far sinks are behind: what the broker has against what has an outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from runtime import metrics
from runtime.kafka import KafkaError, LogReader, Partition
from runtime.kafka.topics import committed_offsets
from runtime.lag import Lag, Place
from runtime.settings import KafkaSettings
from sinks.worker import Worker

LOOK_EVERY_S = 5.0


class LagMeter:
    """One worker's lag.

    Args:
        sink: the sink's name.
        group: its consumer group.
        kafka: where it is.
    """

    def __init__(self, sink: str, group: str, kafka: KafkaSettings) -> None:
        self._records = metrics.SINK_LAG_RECORDS.labels(sink)
        self._seconds = metrics.SINK_LAG_SECONDS.labels(sink)
        self._group = group
        self._kafka = kafka
        self._lag: Lag[Partition] = Lag()
        self._begins: dict[Partition, int] = {}
        """Of partitions of which nothing was read: where reading will begin."""

    async def look(self, reader: LogReader, places: Mapping[Partition, Place | None]) -> None:
        """Set the metrics.

        Args:
            reader: asked for the ends.
            places: the worker's partitions; None: it has read nothing of this one yet.

        Raises:
            KafkaError: the broker does not answer.
        """
        ends = await reader.ends(list(places)) if places else {}
        unread = [one for one, place in places.items() if place is None]
        # What is committed only grows: where it was the end before, and the end is the same, it still is.
        if any(self._begins.get(one, -1) < ends[one] for one in unread):
            committed = await committed_offsets(self._kafka, self._group)
            self._begins = {one: max(committed.get(one, 0), await reader.beginning(one)) for one in unread}
        known = {one: place or Place(self._begins[one]) for one, place in places.items()}
        behind = self._lag.look(time.time() * 1000, ends, known)
        self._records.set(behind.records)
        self._seconds.set(behind.seconds)


async def measure_lag(reader: LogReader, kafka: KafkaSettings, workers: Sequence[Worker[Any, Any]]) -> None:
    """Look again and again, until cancelled; while the broker does not answer, the metrics stay as they are."""
    meters = [(worker, LagMeter(worker.name, worker.group, kafka)) for worker in workers]
    while True:
        for worker, meter in meters:
            try:
                await meter.look(reader, worker.places())
            except KafkaError:
                continue
        await asyncio.sleep(LOOK_EVERY_S)
