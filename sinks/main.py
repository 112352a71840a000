"""Wires the process of a sink: database, client, sink, worker, ops server."""

from __future__ import annotations

import asyncio

from runtime.broker_watch import reached_broker, watching_broker
from runtime.database import open_database
from runtime.kafka import Producer
from runtime.kafka.topics import require_topics
from runtime.ops import Status, ops_server
from runtime.settings import Settings
from schemas.topics import CHANGES, DEADLETTERS, DELIVERIES
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks.mirror import Mirror
from sinks.mirror_store import MirrorStore
from sinks.worker import Worker, WorkerSettings


async def run_mirror(settings: Settings, *, instance: str, ops_host: str, ops_port: int, stop: asyncio.Event) -> None:
    """Mirror every change until `stop` is set; what is being read then is finished first.

    Raises:
        SettingsError: the store's URL or key is wrong.
        KafkaError: the broker cannot be reached at the beginning.
        ExceptionGroup: what crashed the worker.
    """
    status = Status()
    async with ops_server(ops_host, ops_port, status):
        if await reached_broker(settings.kafka, stop):
            await require_topics(settings.kafka, [CHANGES, DELIVERIES, DEADLETTERS])
            await _mirror(settings, status, instance=instance, stop=stop)


async def _mirror(settings: Settings, status: Status, *, instance: str, stop: asyncio.Event) -> None:
    how = settings.sinks.mirror
    async with (
        Producer.open(settings.kafka, client_id=instance) as producer,
        open_database(settings.store) as engine,
        watching_broker(settings.kafka) as watch,
    ):
        sessions, entities = SessionStore(engine, settings.store.key), MirrorStore(engine)
        await sessions.create_tables()
        await entities.create_tables()
        async with open_client(settings.servicetrade, settings.accounts, sessions) as client:
            worker = Worker(
                Mirror(client, entities),
                producer,
                settings.kafka,
                WorkerSettings(
                    group=how.group,
                    instance=instance,
                    session_timeout_s=how.session_timeout_s,
                    concurrency=how.concurrency,
                ),
            )
            status.watch(worker.ready, watch.ready)
            await worker.run(stop)
