"""Wires the ingest process: producer, receiver, HTTP server, ops server."""

from __future__ import annotations

import asyncio

import uvicorn

from ingest.app import Receiver
from ingest.hooks import Hooks
from runtime.broker_watch import reached_broker, watching_broker
from runtime.kafka import Producer
from runtime.kafka.topics import require_topics
from runtime.ops import Status, ops_server, serving
from runtime.settings import Settings
from schemas.topics import WEBHOOKS


async def run(settings: Settings, *, ops_host: str, ops_port: int, stop: asyncio.Event) -> None:
    """Receive webhooks until `stop` is set; requests in progress are finished first.

    Raises:
        ExceptionGroup: of TopicsError, KafkaError or OSError: it cannot work.
    """
    status = Status()
    async with ops_server(ops_host, ops_port, status):
        if await reached_broker(settings.kafka, stop):
            await require_topics(settings.kafka, [WEBHOOKS])
            await _receive(settings, status, stop)


async def _receive(settings: Settings, status: Status, stop: asyncio.Event) -> None:
    kafka, ingest = settings.kafka, settings.ingest
    hooks = Hooks({name: account.hook_secret.reveal().split() for name, account in settings.accounts.items()})
    async with Producer.open(kafka, client_id="ingest", linger_ms=2) as producer, watching_broker(kafka) as watch:
        receiver = Receiver(
            hooks,
            producer,
            topic=kafka.topic_prefix + WEBHOOKS.name,
            body_limit_bytes=ingest.body_limit_bytes,
            ack_timeout_s=ingest.ack_timeout_s,
        )
        config = uvicorn.Config(
            receiver,
            host=ingest.host,
            port=ingest.port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,
        )
        async with serving(config):
            status.watch(watch.ready)
            await stop.wait()
