"""Wires the ingest process: producer, receiver, HTTP server, ops server."""

from __future__ import annotations

import asyncio

import uvicorn

from ingest.app import Receiver
from ingest.hooks import Hooks
from runtime.broker_watch import reached_broker, watching_broker
from runtime.kafka import Producer
from runtime.ops import ops_server, serving
from runtime.settings import Settings
from schemas.topics import WEBHOOKS


async def run(settings: Settings, *, ops_host: str, ops_port: int, stop: asyncio.Event) -> None:
    """Receive webhooks until `stop` is set; requests in progress are finished first."""
    kafka, ingest = settings.kafka, settings.ingest
    hooks = Hooks({name: account.hook_secret.reveal().split() for name, account in settings.accounts.items()})
    if not await reached_broker(kafka, stop):
        return
    async with (
        Producer.open(kafka, client_id="ingest", linger_ms=2) as producer,
        watching_broker(kafka) as watch,
        ops_server(ops_host, ops_port, watch.ready),
    ):
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
            await stop.wait()
