"""A sink under the contract's suite: its topics on the real broker, its store, and its workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.kafka import KafkaError, LogReader, Producer
from runtime.kafka.topics import ensure_topics, full_name, open_admin
from runtime.settings import KafkaSettings
from schemas.encoding import decode
from schemas.record import LogRecord
from schemas.topics import DEADLETTERS, PARTITIONS, Topic
from sinks.arrival import Arrival
from sinks.dispatch import Stores
from sinks.limits import Limits
from sinks.open_letters import OpenLetters
from sinks.parking_store import Halts, ParkingStore
from sinks.sink import Fate, Sink
from sinks.steps import At, pass_by
from sinks.worker import Worker, WorkerSettings
from tests.sinks.contract.sinks_adapter import Adapter, Item
from tests.sinks.support import QUICK

DEADLINE_S = 30.0
PARTITIONS_HERE = 3


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for the condition; fails the test at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 - neither the broker nor a database tells
            await asyncio.sleep(0.02)


@dataclass
class Held:
    """A sink whose calls wait until they are let through."""

    inner: Sink[Any, Any]
    pass_on: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    called: list[list[Arrival[Any]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The real one's."""
        return self.inner.name

    @property
    def fate(self) -> Fate:
        """The real one's."""
        return self.inner.fate

    async def deliver(self, arrivals: Sequence[Arrival[Any]]) -> Sequence[Any]:
        """See `sinks.sink.Sink`."""
        self.called.append(list(arrivals))
        await self.pass_on.acquire()
        return await self.inner.deliver(arrivals)


class Stage:
    """All that one test has."""

    def __init__(self, kafka: KafkaSettings, producer: Producer, adapter: Adapter) -> None:
        self.adapter = adapter
        self._kafka = kafka
        self._producer = producer
        self._sent = 0
        self._group = f"{kafka.topic_prefix}sink"
        self._topic = full_name(kafka, adapter.feed.topic)
        database = adapter.database
        self._stores = Stores(
            parking=ParkingStore(database, adapter.name, self._topic),
            halts=Halts(database),
            letters=OpenLetters(database),
        )

    async def prepare(self, stack: AsyncExitStack) -> None:
        """Make the topics, with few partitions: each costs the broker time."""
        self._admin = await stack.enter_async_context(open_admin(self._kafka))
        topics = (self.adapter.feed.topic, self.adapter.feed.outcomes, DEADLETTERS)
        await ensure_topics(self._kafka, [replace(one, partitions=PARTITIONS_HERE) for one in topics])

    async def send(self, *items: Item, partition: int | None = None) -> None:
        """Append them, one after the other."""
        for item in items:
            headers = item.headers
            self._sent += 1
            await (
                await self._producer.send(
                    self._topic, key=item.key, value=item.value, headers=headers, partition=partition
                )
            )

    def worker(
        self, sink: Sink[Any, Any], at: At = pass_by, *, most_in_memory: int = 2000, **more: Any
    ) -> Worker[Any, Any]:
        """As a new process would have it, under the name that all have."""
        limits = Limits(pauses=QUICK, **{"park_after_s": 3600.0, "park_entity_after_s": 3600.0, **more})
        settings = WorkerSettings(
            group=self._group, instance="one", session_timeout_s=6.0, limits=limits, most_in_memory=most_in_memory
        )
        return Worker(
            sink,
            self.adapter.feed,
            producer=self._producer,
            kafka=self._kafka,
            stores=self._stores,
            settings=settings,
            at=at,
        )

    @asynccontextmanager
    async def working(self, **more: Any) -> AsyncIterator[None]:
        """A process runs for the length of the block, and stops at its end."""
        async with self.adapter.sink(pass_by) as sink, running(self.worker(sink, **more)):
            yield

    async def all_done(self) -> bool:
        """Whether everything that was sent is committed, and nothing put aside."""
        return await self.lag() == 0 and await self.parked() == 0

    async def lag(self) -> int:
        """Records that a new worker would read."""
        try:
            found = await self._admin.list_consumer_group_offsets(self._group)
        except KafkaError:  # a new broker has no coordinator before the first group
            found = {}
        return self._sent - sum(max(0, int(one.offset)) for one in found.values())

    async def parked(self) -> int:
        """Records in the table."""
        return sum((await self._stores.parking.counts(range(PARTITIONS))).values())

    async def records(self, topic: Topic) -> list[LogRecord]:
        """All of a topic."""
        found: list[LogRecord] = []
        async with LogReader.open(self._kafka, client_id="test") as reader:
            for partition in await reader.partitions(full_name(self._kafka, topic)):
                async for batch in reader.read(partition, 0, await reader.end(partition)):
                    found += batch
        return found

    async def check(self, sent: Sequence[Item], *, crashed: bool = False, copies: int = 1) -> None:
        """Everything that was sent has an outcome, and had its effect as the sink promises.

        Args:
            sent: in order, without what is refused.
            crashed: the worker was ended in between.
            copies: how often each was sent.
        """
        outcomes = [decode(record.value or b"") for record in await self.records(self.adapter.feed.outcomes)]
        numbers = [self.adapter.told(one) for one in outcomes if one["outcome"] != "dead-lettered"]
        for item in sent:
            told = numbers.count(item.number)
            assert told >= copies if crashed else told == copies, f"{item.number} has {told} outcomes"
        uncertain = {self.adapter.told(one) for one in outcomes if one["outcome"] == "uncertain"}
        assert crashed or not uncertain
        effects = await self.adapter.effects()
        assert {number for _, number in effects} <= {item.number for item in sent}
        for entity in {item.entity for item in sent}:
            seen = [number for one, number in effects if one == entity]
            wanted = [item.number for item in sent if item.entity == entity]
            assert self.adapter.keeps(seen, wanted, uncertain, crashed=crashed), f"{seen}, not {wanted}"


@asynccontextmanager
async def running(worker: Worker[Any, Any]) -> AsyncIterator[asyncio.Event]:
    """The worker runs for the length of the block; its stop event. Fails as the worker does."""
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield stop
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})
