"""Partitions, positions and records: aiokafka's untyped values as typed ones."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

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


def log_record(item: Any) -> LogRecord:
    """A consumed record."""
    return LogRecord(
        topic=item.topic,
        partition=item.partition,
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
