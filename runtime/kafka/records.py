"""Partitions, positions and records: aiokafka's untyped values as typed ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult

from schemas.record import LogRecord

READ_BYTES = 4 * 1024 * 1024
"""How much is fetched of a partition at once."""
CLOSE_S = 2.0


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a topic, by the topic's full name."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where an acknowledged record stands."""

    partition: Partition
    offset: int


def topic_partition(partition: Partition) -> TopicPartition:
    """The partition as aiokafka spells it."""
    return TopicPartition(partition.topic, partition.number)


def keep_parsed(consumer: AIOKafkaConsumer) -> None:
    """From now on, give a started consumer's records as the parser, which is written in C, made them.

    They have all that a Record has. aiokafka makes a Python object of eleven fields of each: measured, a quarter of
    what the processors spend on a notification.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - there is no public way; held by a contract test
    if not isinstance(fetcher._records, _Fetched):  # noqa: SLF001
        fetcher._records = _Fetched(fetcher._records)  # noqa: SLF001


class _Fetched(dict[TopicPartition, Any]):
    """What was fetched, by partition; unpacked as it is read, so what waits is still compressed."""

    def __setitem__(self, partition: TopicPartition, result: Any) -> None:
        if isinstance(result, FetchResult):
            result._partition_records._consumer_record = _as_parsed  # noqa: SLF001
            result.getall = partial(self._some_of, partition, result)
        super().__setitem__(partition, result)

    def _some_of(self, partition: TopicPartition, result: Any, max_records: int | None = None) -> list[Any]:
        """As FetchResult.getall, but bounded in bytes too, and whoever leaves something queues up again.

        A few records can be as large as many, and a partition with a backlog would keep the others waiting until all
        that was fetched of it is read.
        """
        found: list[Any] = []
        size = 0
        if not result.check_assignment(partition) or not result.has_more():
            return found
        for record in result._partition_records:  # noqa: SLF001
            found.append(record)
            size += len(record.value or b"")
            if len(found) == max_records or size >= READ_BYTES:
                result._update_position()  # noqa: SLF001
                super().__setitem__(partition, self.pop(partition))
                return found
        result._update_position()  # noqa: SLF001
        result._partition_records = None  # noqa: SLF001
        return found


def _as_parsed(_: TopicPartition, record: Any) -> Any:
    return record


def log_record(partition: Partition, item: Any) -> LogRecord:
    """A consumed record."""
    return LogRecord(
        topic=partition.topic,
        partition=partition.number,
        offset=item.offset,
        timestamp=item.timestamp,
        key=item.key,
        value=item.value,
        headers=tuple(item.headers),
    )


async def close(consumer: AIOKafkaConsumer) -> None:
    """Disconnect.

    Closing, aiokafka 0.14 cancels its fetcher and waits for it, but a fetcher that was given other partitions a
    moment before takes that for the end of an old fetch and goes on for ever. The time-out cancels it once more.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await consumer.stop()
