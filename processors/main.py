"""Wires the processors' process: producer, reader, engine, Faust worker, ops server."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping

from processors.engine import Engine
from processors.faust_batches import Worker
from runtime.broker_watch import reached_broker, watching_broker
from runtime.kafka import LogReader, Partition, Producer
from runtime.kafka.topics import require_topics
from runtime.ops import Status, ops_server
from runtime.settings import Settings
from schemas.topics import CHANGES, DEADLETTERS, RULES, WEBHOOKS


async def run(
    settings: Settings, *, instance: str, ops_host: str, ops_port: int, accept_loss: bool, stop: asyncio.Event
) -> None:
    """Consolidate until `stop` is set; a batch that is not committed then is consumed again by the next owner.

    Raises:
        ExceptionGroup: what crashed the worker.
    """
    _tune_interpreter()
    status = Status()
    async with ops_server(ops_host, ops_port, status):
        if await reached_broker(settings.kafka, stop):
            await require_topics(settings.kafka, [WEBHOOKS, CHANGES, DEADLETTERS, RULES])
            await _consolidate(settings, status, instance=instance, accept_loss=accept_loss, stop=stop)


def _tune_interpreter() -> None:
    """Measured together: a sixth more notifications a second.

    What is imported by now stays, so the garbage collector need not walk it; what batches leave behind is freed by
    reference counts, so it need not look often. And Faust's fetching thread may wait for the end of a batch.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.02)


async def _consolidate(
    settings: Settings, status: Status, *, instance: str, accept_loss: bool, stop: asyncio.Event
) -> None:
    kafka = settings.kafka
    async with (
        Producer.open(kafka, client_id=instance) as producer,
        LogReader.open(kafka, client_id=f"{instance}-restore") as reader,
        watching_broker(kafka) as watch,
    ):

        async def commit(positions: Mapping[Partition, int]) -> bool:
            return await worker.commit(positions)

        engine = Engine(
            kafka,
            settings.pipeline,
            settings=settings.processors,
            producer=producer,
            reader=reader,
            commit=commit,
            accept_loss=accept_loss,
        )
        worker = Worker(
            kafka,
            settings.processors,
            topic=kafka.topic_prefix + WEBHOOKS.name,
            instance=instance,
            on_batch=engine.on_batch,
            on_assigned=engine.on_assigned,
            on_revoked=engine.on_revoked,
        )
        async with asyncio.TaskGroup() as tasks:
            consolidating = tasks.create_task(engine.run())
            tasks.create_task(worker.run())
            status.watch(engine.ready, watch.ready)
            await stop.wait()
            await engine.drain()
            await worker.stop()
            consolidating.cancel()
