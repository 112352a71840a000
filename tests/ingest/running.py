"""How the tests run the receiver over real sockets, speak HTTP to it byte by byte, and read what it stored."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from ingest.hooks import Hooks
from ingest.lanes import open_lanes
from ingest.receiver import Receiver
from ingest.server import listening as serving
from ingest.spool import Spool
from ingest.witness import Witness
from runtime.kafka import BatchProducer, LogReader
from runtime.kafka.topics import ensure_topics
from runtime.settings import IngestSettings, KafkaSettings, SpoolSettings
from schemas.record import LogRecord
from schemas.topics import WEBHOOKS

HOST = "127.0.0.1"
LIMIT = 4 * 1024 * 1024
SECRETS = {"acme": ("winter-7f3a-0123456", "summer-91bc-0123456"), "bolt": ("bolt-secret",)}
ACME = "/webhooks/acme/winter-7f3a-0123456"
BOLT = "/webhooks/bolt/bolt-secret"
RAW_LOG = replace(WEBHOOKS, partitions=2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what happens in another process, or behind a port."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)


async def until_true(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this process, but in a thread or behind a socket."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Running:
    """A receiver that listens, and the log that it writes to."""

    kafka: KafkaSettings
    port: int
    http: httpx.AsyncClient
    spool: Spool

    async def stored(self) -> list[LogRecord]:
        """Everything in the raw log, partition after partition, once the spool is empty."""
        await until(self.drained)
        return await read_all(self.kafka, WEBHOOKS.name)

    async def drained(self) -> bool:
        """Whether the spool is empty."""
        return not any(self.spool.waiting.values())

    async def talk(self, request: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back until the receiver closes."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def read_all(kafka: KafkaSettings, name: str) -> list[LogRecord]:
    """All records of a topic."""
    found: list[LogRecord] = []
    async with LogReader.open(kafka, client_id="test") as reader:
        for partition in await reader.partitions(kafka.topic_prefix + name):
            start, stop = await reader.beginning(partition), await reader.end(partition)
            if start < stop:
                async for batch in reader.read(partition, start, stop):
                    found += batch
    return found


@asynccontextmanager
async def listening(
    kafka: KafkaSettings, *, spool: SpoolSettings, ack_timeout_s: float = 2.0, answer_timeout_s: float = 4.5
) -> AsyncIterator[Running]:
    """The receiver as ingest.main wires it, on a port that the system chose."""
    topic, partitions = kafka.topic_prefix + WEBHOOKS.name, RAW_LOG.partitions
    hooks = Hooks(SECRETS)
    async with (
        Spool.open(spool) as opened,
        BatchProducer.open(kafka, client_id="ingest", topic=topic, partitions=partitions) as producer,
        open_lanes(producer, opened, partitions=partitions, ack_timeout_s=ack_timeout_s) as lanes,
    ):
        witness = Witness(hooks, SECRETS, access_log=True)
        receiver = Receiver(hooks, lanes, witness, body_limit_bytes=LIMIT)
        settings = IngestSettings(
            host=HOST, port=0, ack_timeout_s=answer_timeout_s / 2, answer_timeout_s=answer_timeout_s
        )
        async with (
            serving(receiver, settings) as server,
            httpx.AsyncClient(base_url=f"http://{HOST}:{server.port}", timeout=20) as http,
        ):
            yield Running(kafka, server.port, http, opened)


@asynccontextmanager
async def receiver_on(
    kafka: KafkaSettings, *, ack_timeout_s: float = 2.0, answer_timeout_s: float = 4.5
) -> AsyncIterator[Running]:
    """The receiver on a raw log that was just created, with a spool of its own."""
    await ensure_topics(kafka, [RAW_LOG])
    with TemporaryDirectory() as folder:
        spool = SpoolSettings(folder=Path(folder))
        async with listening(
            kafka, spool=spool, ack_timeout_s=ack_timeout_s, answer_timeout_s=answer_timeout_s
        ) as running:
            yield running
