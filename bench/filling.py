"""Fills the raw log with webhooks that carry their own timestamps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from bench.workload import Posted
from runtime.kafka.producer import partition_of as partition_of_key
from runtime.kafka.topics import full_name, open_admin, wanted_config
from runtime.settings import KafkaSettings
from schemas.topics import MAX_RECORD_BYTES, PARTITIONS, WEBHOOKS

TIMESTAMPS = "message.timestamp.type"
_BATCH_BYTES = 256 * 1024
_IN_FLIGHT = 64


@asynccontextmanager
async def own_timestamps(kafka: KafkaSettings) -> AsyncIterator[None]:
    """Let writers give the timestamps of the raw log while the block lasts; records keep them afterwards."""
    await _set_webhooks(kafka, {TIMESTAMPS: "CreateTime"})
    try:
        yield
    finally:
        await _set_webhooks(kafka, {})


async def _set_webhooks(kafka: KafkaSettings, changed: dict[str, str]) -> None:
    name = full_name(kafka, WEBHOOKS)
    # This request replaces all of the topic's settings, so all of them are given.
    wanted = {**wanted_config(kafka, WEBHOOKS), **changed}
    async with open_admin(kafka) as admin:
        responses = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted)])
    for code, message, *_ in (entry for response in responses for entry in response.resources):
        if code:
            raise for_code(code)(message)


def partition_of(account: str) -> int:
    """The partition of the raw log that an account's records go to."""
    return partition_of_key(account.encode(), range(PARTITIONS))


async def fill(kafka: KafkaSettings, posted: Iterable[Posted]) -> int:
    """Append webhooks to the raw log with the timestamps they carry, and say how many.

    Raises:
        KafkaError: one was not acknowledged.
    """
    name = full_name(kafka, WEBHOOKS)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=_BATCH_BYTES,
        max_request_size=MAX_RECORD_BYTES,
    )
    async with own_timestamps(kafka), producer:
        filler = _Filler(producer, name)
        count = 0
        for one in posted:
            await filler.append(partition_of(one.account), one)
            count += 1
        await filler.flush()
    return count


class _Filler:
    """Fills one batch per partition and sends it when it is full."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._batches: dict[int, Any] = {}
        self._sent: set[asyncio.Future[Any]] = set()

    async def append(self, partition: int, one: Posted) -> None:
        while True:
            batch = self._batches.get(partition)
            if batch is None:
                batch = self._batches[partition] = self._producer.create_batch()
            if batch.append(key=one.account.encode(), value=one.body, timestamp=one.timestamp_ms) is not None:
                return
            await self._send(partition)

    async def flush(self) -> None:
        for partition in list(self._batches):
            await self._send(partition)
        await asyncio.gather(*self._sent)

    async def _send(self, partition: int) -> None:
        batch = self._batches.pop(partition)
        self._sent.add(await self._producer.send_batch(batch, self._topic, partition=partition))
        if len(self._sent) >= _IN_FLIGHT:
            done, self._sent = await asyncio.wait(self._sent, return_when=asyncio.FIRST_COMPLETED)
            for sent in done:
                sent.result()
