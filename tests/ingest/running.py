"""How the tests run the receiver over real sockets, speak HTTP to it byte by byte, and read what it stored."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import uvicorn

from ingest.app import Receiver
from ingest.hooks import Hooks
from runtime.kafka import LogReader, Producer
from runtime.kafka.topics import ensure_topics
from runtime.ops import serving
from runtime.settings import KafkaSettings
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


@dataclass(frozen=True)
class Running:
    """A receiver that listens, and the log that it writes to."""

    kafka: KafkaSettings
    port: int
    http: httpx.AsyncClient

    async def stored(self) -> list[LogRecord]:
        """Everything in the raw log, partition after partition."""
        return await read_all(self.kafka, WEBHOOKS.name)

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
async def listening(kafka: KafkaSettings, *, ack_timeout_s: float = 20.0) -> AsyncIterator[Running]:
    """The receiver as ingest.main wires it, on a port that the system chose."""
    async with Producer.open(kafka, client_id="ingest", linger_ms=2) as producer:
        receiver = Receiver(
            Hooks(SECRETS),
            producer,
            topic=kafka.topic_prefix + WEBHOOKS.name,
            body_limit_bytes=LIMIT,
            ack_timeout_s=ack_timeout_s,
        )
        config = uvicorn.Config(
            receiver, host=HOST, port=0, http="httptools", lifespan="off", log_config=None, access_log=False
        )
        async with serving(config) as port, httpx.AsyncClient(base_url=f"http://{HOST}:{port}", timeout=20) as http:
            yield Running(kafka, port, http)


@asynccontextmanager
async def receiver_on(kafka: KafkaSettings, *, ack_timeout_s: float = 20.0) -> AsyncIterator[Running]:
    """The receiver on a raw log that was just created."""
    await ensure_topics(kafka, [RAW_LOG])
    async with listening(kafka, ack_timeout_s=ack_timeout_s) as running:
        yield running
