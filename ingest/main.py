"""Wires the ingest process: spool, producer, lanes, receiver, HTTP server, ops server."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ingest.hooks import Hooks
from ingest.lanes import open_lanes
from ingest.receiver import Receiver
from ingest.secrets_watch import live_secrets, watch_secrets
from ingest.server import listening
from ingest.spool import Spool
from ingest.witness import Witness
from runtime.broker_watch import REFUSED_S, RETRY_S, reached_broker, watching_broker
from runtime.kafka import BatchProducer, BrokerRefused, KafkaError
from runtime.kafka.topics import full_name, require_topics
from runtime.logs import log_event
from runtime.ops import Status, ops_server
from runtime.settings import Settings
from schemas.topics import WEBHOOKS

_log = logging.getLogger(__name__)


async def run(
    settings: Settings, *, ops_host: str, ops_port: int, stop: asyncio.Event, config: Path | None = None
) -> None:
    """Receive webhooks until `stop` is set; requests in progress are finished first.

    Args:
        settings: all of them.
        ops_host: where /livez, /readyz and /metrics are.
        ops_port: the same.
        stop: ends it.
        config: the file that the settings came from; when it or a secret's file changes, secrets are read again.

    Raises:
        SpoolError: the spool's folder cannot be used.
        ExceptionGroup: of TopicsError or OSError: it cannot work.
    """
    status = Status()
    kafka, ingest = settings.kafka, settings.ingest
    topic = full_name(kafka, WEBHOOKS)
    hooks = Hooks(live_secrets(settings))
    witness = Witness(hooks, settings.accounts, access_log=ingest.access_log)
    async with (
        ops_server(ops_host, ops_port, status, status.shown),
        Spool.open(ingest.spool) as spool,
        BatchProducer.open(kafka, client_id="ingest", topic=topic, partitions=WEBHOOKS.partitions) as producer,
        open_lanes(producer, spool, partitions=WEBHOOKS.partitions, ack_timeout_s=ingest.ack_timeout_s) as lanes,
        watching_broker(kafka) as watch,
        asyncio.TaskGroup() as tasks,
    ):
        receiver = Receiver(hooks, lanes, witness, body_limit_bytes=ingest.body_limit_bytes)
        others = [tasks.create_task(_check_topics(settings, stop), name="topics")]
        if config is not None:
            others.append(tasks.create_task(watch_secrets(config, settings, hooks), name="secrets"))
        async with listening(receiver, ingest):
            status.watch(spool.ready, shown=[watch.ready])
            await stop.wait()
        for task in others:
            task.cancel()


async def _check_topics(settings: Settings, stop: asyncio.Event) -> None:
    """As soon as there is a broker to ask; until then webhooks are spooled, also while it refuses us.

    Raises:
        TopicsError: webhooks would be misread, or there is nowhere to put them.
    """
    told = ""
    while not stop.is_set():
        try:
            if await reached_broker(settings.kafka, stop):
                await require_topics(settings.kafka, [WEBHOOKS])
        except BrokerRefused as error:
            # A person has to mend that; to end would be to take no webhooks until then.
            if str(error) != told:
                told = str(error)
                log_event(_log, "broker.refused", level=logging.ERROR, reason=told)
            await asyncio.sleep(REFUSED_S)
        except (KafkaError, OSError):  # it can go away between two questions
            await asyncio.sleep(RETRY_S)
        else:
            return
