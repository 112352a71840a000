"""Measures, beside the work, how far sinks are behind: what the broker has against what has an outcome."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from runtime import metrics
from runtime.kafka import KafkaError, LogReader, Partition
from runtime.kafka.topics import committed_offsets
from runtime.lag import Lag, Place
from runtime.logs import log_event
from runtime.settings import KafkaSettings
from sinks.worker import Worker

LOOK_EVERY_S = 5.0

_log = logging.getLogger(__name__)


class LagMeter:
    """One worker's lag.

    Args:
        sink: the sink's name.
        group: its consumer group.
        kafka: where it is.
    """

    def __init__(self, sink: str, group: str, kafka: KafkaSettings) -> None:
        self._sink = sink
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
            BrokerRefused: it does not take this configuration any more.
        """
        ends = await reader.ends(list(places)) if places else {}
        unread = [one for one, place in places.items() if place is None]
        # What is committed only grows: where it was the end before, and the end is the same, it still is.
        if any(self._begins.get(one, -1) < ends[one] for one in unread):
            committed = await committed_offsets(self._kafka, self._group)
            self._begins = {one: max(committed.get(one, 0), await reader.beginning(one)) for one in unread}
        known = {one: place or Place(self._begins[one]) for one, place in places.items()}
        behind = self._lag.look(time.time() * 1000, ends, known)
        # Not exported before: 0 would say that nothing is behind.
        metrics.SINK_LAG_RECORDS.labels(self._sink).set(behind.records)
        metrics.SINK_LAG_SECONDS.labels(self._sink).set(behind.seconds)


async def measure_lag(
    reader: LogReader, kafka: KafkaSettings, workers: Sequence[Worker[Any, Any]], *, every_s: float = LOOK_EVERY_S
) -> None:
    """Look again and again, until cancelled; whatever the broker answers, no worker ends for the sake of a metric.

    The metrics stay as they are while the broker does not answer or refuses this configuration, and while a worker's
    partitions are being assigned.

    Args:
        reader: asked for the ends.
        kafka: where it is.
        workers: whose lag.
        every_s: between two looks, seconds.
    """
    meters = [(worker, LagMeter(worker.name, worker.group, kafka)) for worker in workers]
    unknown: set[str] = set()
    while True:
        for worker, meter in meters:
            if (places := worker.places()) is None:
                continue
            try:
                await meter.look(reader, places)
            except (KafkaError, OSError) as error:
                if worker.name not in unknown:
                    log_event(_log, "sink.lag_unknown", level=logging.WARNING, sink=worker.name, reason=str(error))
                unknown.add(worker.name)
            else:
                unknown.discard(worker.name)
        await asyncio.sleep(every_s)
