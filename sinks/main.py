"""Wires the processes of the sinks: database, client, sinks, workers, ops server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from runtime.broker_watch import reached_broker, watching_broker
from runtime.database import Database, open_database
from runtime.kafka import LogReader, Producer
from runtime.kafka.topics import require_topics
from runtime.ops import Status, ops_server
from runtime.settings import Settings
from runtime.sink_settings import SinkSettings
from runtime.store_schema import upgrade
from schemas.topics import DEADLETTERS
from servicetrade.client import ServiceTradeClient, open_client
from servicetrade.session_store import SessionStore
from sinks.changes_feed import ChangesFeed
from sinks.command import CommandSink
from sinks.command_store import CommandStore
from sinks.commands_feed import CommandsFeed
from sinks.custom import open_custom
from sinks.dispatch import Stores
from sinks.feed import Feed
from sinks.forward import open_forward
from sinks.lag import measure_lag
from sinks.limits import Limits
from sinks.memory_store import MemoryStore
from sinks.mirror import Mirror
from sinks.mirror_store import MirrorStore
from sinks.open_letters import OpenLetters
from sinks.parking_store import Halts, ParkingStore
from sinks.pauses import Pauses
from sinks.sink import Sink
from sinks.worker import Worker, WorkerSettings

Item = TypeVar("Item")
Out = TypeVar("Out")
Workers = list[Worker[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every sink's process has."""

    settings: Settings
    instance: str
    producer: Producer
    database: Database
    client: ServiceTradeClient

    def worker(self, sink: Sink[Item, Out], feed: Feed[Item, Out], how: SinkSettings) -> Worker[Item, Out]:
        """A worker for a sink, as its settings say."""
        kafka = self.settings.kafka
        stores = Stores(
            parking=ParkingStore(self.database, sink.name, kafka.topic_prefix + feed.topic.name),
            halts=Halts(self.database),
            letters=OpenLetters(self.database),
        )
        limits = Limits(
            concurrency=how.concurrency,
            account_concurrency=how.account_concurrency,
            pauses=Pauses(longest_s=how.longest_pause_s),
            park_after_s=how.park_after_s,
            park_entity_after_s=how.park_entity_after_s,
            dead_letter_cap=how.dead_letter_cap,
            letters_kept_s=kafka.retention_ms / 1000,
            accounts=tuple(self.settings.accounts),
        )
        settings = WorkerSettings(
            group=how.group or f"tradewind-{sink.name.replace('/', '-')}",
            instance=self.instance,
            session_timeout_s=how.session_timeout_s,
            limits=limits,
        )
        return Worker(sink, feed, producer=self.producer, kafka=kafka, stores=stores, settings=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ops:
    """Where a process listens, and under which name it works.

    Args:
        instance: the same after a restart (static membership).
        host: address of /livez, /readyz and /metrics.
        port: of the same.
    """

    instance: str
    host: str
    port: int


async def run_mirror(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Mirror every change until `stop` is set; what is being read then is finished first.

    Raises: see `_run`.
    """

    @asynccontextmanager
    async def workers(parts: Parts) -> AsyncIterator[Workers]:
        sink = Mirror(parts.client, MirrorStore(parts.database))
        yield [parts.worker(sink, ChangesFeed(), settings.sinks.mirror)]

    await _run(settings, ops, stop, ChangesFeed, workers)


async def run_command(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Perform commands until `stop` is set.

    Raises: see `_run`.
    """

    @asynccontextmanager
    async def workers(parts: Parts) -> AsyncIterator[Workers]:
        sink = CommandSink(parts.client, CommandStore(parts.database))
        yield [parts.worker(sink, CommandsFeed(), settings.sinks.command)]

    await _run(settings, ops, stop, CommandsFeed, workers)


async def run_forward(settings: Settings, names: Sequence[str], ops: Ops, stop: asyncio.Event) -> None:
    """Forward changes to these subscribers, each with a worker and a place of its own, until `stop` is set.

    Raises: see `_run`; SettingsError too if a subscriber's URL or ca_file cannot be used.
    """

    @asynccontextmanager
    async def workers(parts: Parts) -> AsyncIterator[Workers]:
        async with AsyncExitStack() as stack:
            store, found = MemoryStore(parts.database), []
            for name in names:
                how = settings.sinks.forward[name]
                sink = await stack.enter_async_context(open_forward(name, how, store))
                found.append(parts.worker(sink, ChangesFeed(how.wants), how))
            yield found

    await _run(settings, ops, stop, ChangesFeed, workers)


async def run_custom(settings: Settings, name: str, ops: Ops, stop: asyncio.Event) -> None:
    """Give changes to a function of the user's until `stop` is set.

    Raises: see `_run`; SettingsError too if the function cannot be used.
    """

    @asynccontextmanager
    async def workers(parts: Parts) -> AsyncIterator[Workers]:
        how = settings.sinks.custom[name]
        async with open_custom(name, how, parts.client, MemoryStore(parts.database)) as sink:
            yield [parts.worker(sink, ChangesFeed(how.wants), how)]

    await _run(settings, ops, stop, ChangesFeed, workers)


async def _run(
    settings: Settings,
    ops: Ops,
    stop: asyncio.Event,
    feed: type[ChangesFeed | CommandsFeed],
    workers: Callable[[Parts], AbstractAsyncContextManager[Workers]],
) -> None:
    """Run the workers of one process until `stop` is set.

    Raises:
        SettingsError: the store's URL or key is wrong.
        KafkaError: the broker cannot be reached at the beginning.
        ExceptionGroup: what crashed a worker.
    """
    status = Status()
    async with ops_server(ops.host, ops.port, status, status.shown):
        if not await reached_broker(settings.kafka, stop):
            return
        await require_topics(settings.kafka, [feed.topic, feed.outcomes, DEADLETTERS])
        async with (
            _parts(settings, ops.instance) as parts,
            workers(parts) as working,
            watching_broker(settings.kafka) as watch,
            LogReader.open(settings.kafka, client_id=f"{ops.instance}-lag") as reader,
            asyncio.TaskGroup() as tasks,
        ):
            status.watch(*(worker.ready for worker in working), watch.ready, shown=[worker.shown for worker in working])
            measuring = tasks.create_task(measure_lag(reader, settings.kafka, working))
            await asyncio.wait([tasks.create_task(worker.run(stop)) for worker in working])
            measuring.cancel()


@asynccontextmanager
async def _parts(settings: Settings, instance: str) -> AsyncIterator[Parts]:
    async with (
        Producer.open(settings.kafka, client_id=instance) as producer,
        open_database(settings.store) as database,
    ):
        await upgrade(database)
        sessions = SessionStore(database, settings.store.key)
        async with open_client(settings.servicetrade, settings.accounts, sessions) as client:
            yield Parts(settings=settings, instance=instance, producer=producer, database=database, client=client)
