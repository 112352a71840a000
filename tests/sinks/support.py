"""What the sinks' tests share: changes made by hand, a sink that records, and a look at the topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from runtime.database import Database, open_database
from runtime.kafka import KafkaError, LogReader, Producer
from runtime.kafka.topics import committed_offsets, ensure_topics
from runtime.settings import KafkaSettings, StoreSettings
from runtime.store_schema import upgrade
from schemas.change import EntityChange, cloud_event_headers
from schemas.encoding import decode, encode
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, DELIVERIES, Topic
from sinks.arrival import Arrival
from sinks.changes_feed import ChangesFeed
from sinks.dispatch import Stores
from sinks.limits import Limits
from sinks.open_letters import OpenLetters
from sinks.outcome import ALREADY_DELIVERED, Delivered, Outcome
from sinks.parking_store import Halts, ParkingStore
from sinks.pauses import Pauses
from sinks.sink import Fate
from sinks.steps import At, pass_by
from sinks.worker import Worker, WorkerSettings
from tests.sinks.making import change

__all__ = ["change"]


async def until(condition: Callable[[], bool], *, deadline_s: float = 30.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to set
            await asyncio.sleep(0.01)


Step = Exception | asyncio.Event | None


@dataclass
class Recorder:
    """A sink that remembers sequences, and does for each call on an entity what it was told to beforehand.

    An exception is raised, an event waited for; without a step left the change is delivered. One change a call.
    """

    steps: dict[str, list[Step]] = field(default_factory=dict)
    called: list[tuple[str, int]] = field(default_factory=list)
    """Entity id and number of each call, as it began."""
    delivered: list[tuple[str, int]] = field(default_factory=list)
    all_at_once: bool = False
    waiting: list[int] = field(default_factory=list)
    """How many changes each call was given."""
    last: dict[str, str] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)
    """Numbers of changes that were marked as redriven."""
    name: str = "recorder"
    fate: Fate = "account"

    async def deliver(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome]:
        changes = [arrival.item for arrival in arrivals]
        first = changes[0]
        self.called.append((first.entity_id, number_of(first)))
        self.waiting.append(len(changes))
        self.again += [number_of(arrival.item) for arrival in arrivals if arrival.again]
        steps = self.steps.get(first.entity_id, [])
        step = steps.pop(0) if steps else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            await step.wait()
        return [self._one(one) for one in (changes if self.all_at_once else changes[:1])]

    def _one(self, one: EntityChange) -> Outcome:
        if one.sequence <= self.last.get(one.key, ""):
            return ALREADY_DELIVERED
        self.last[one.key] = one.sequence
        self.delivered.append((one.entity_id, number_of(one)))
        return Delivered()

    def of(self, entity_id: int) -> list[int]:
        """Numbers of the entity's delivered changes, in order."""
        return [number for found, number in self.delivered if found == str(entity_id)]


def number_of(one: EntityChange) -> int:
    return int(one.sequence[5:21])


@dataclass(frozen=True)
class Topics:
    """The topics of one test on the shared broker."""

    settings: KafkaSettings
    producer: Producer
    database: Database

    @property
    def stores(self) -> Stores:
        """What a worker named recorder keeps in the store."""
        parking = ParkingStore(self.database, "recorder", self.settings.topic_prefix + CHANGES.name)
        return Stores(parking=parking, halts=Halts(self.database), letters=OpenLetters(self.database))

    @property
    def group(self) -> str:
        """Of the workers that these tests start."""
        return f"{self.settings.topic_prefix}recorder"

    async def send(self, *changes: EntityChange, partition: int | None = None) -> None:
        topic = self.settings.topic_prefix + CHANGES.name
        for one in changes:
            headers = cloud_event_headers(one)
            await (
                await self.producer.send(
                    topic, key=one.key.encode(), value=encode(one), headers=headers, partition=partition
                )
            )

    async def send_raw(self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], partition: int) -> None:
        topic = self.settings.topic_prefix + CHANGES.name
        await (await self.producer.send(topic, key=key, value=value, headers=headers, partition=partition))

    async def records(self, topic: Topic) -> list[LogRecord]:
        found: list[LogRecord] = []
        async with LogReader.open(self.settings, client_id="test") as reader:
            for partition in await reader.partitions(self.settings.topic_prefix + topic.name):
                async for batch in reader.read(partition, 0, await reader.end(partition)):
                    found += batch
        return found

    async def deliveries(self) -> list[tuple[str, int, str, str]]:
        """Entity id, number, outcome and reason of each delivery, by entity and in order."""
        values = [decode(record.value or b"") for record in await self.records(DELIVERIES)]
        rows = [(one["entity_id"], int(one["sequence"][5:21]), one["outcome"], one["reason"]) for one in values]
        return sorted(rows, key=lambda row: row[0])

    async def until_deliveries(self, count: int) -> None:
        """So many outcomes are on record."""
        async with asyncio.timeout(30):
            while len(await self.records(DELIVERIES)) < count:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.05)

    async def lag(self) -> int:
        """Records that a new member of the workers' group would read."""
        return await self._end() - await self._committed()

    async def until_all_is_committed(self) -> None:
        """As far as anything was sent by now."""
        end = await self._end()
        async with asyncio.timeout(30):
            while await self._committed() != end:  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.05)

    async def _end(self) -> int:
        async with LogReader.open(self.settings, client_id="test") as reader:
            partitions = await reader.partitions(self.settings.topic_prefix + CHANGES.name)
            return sum([await reader.end(one) for one in partitions])

    async def _committed(self) -> int:
        try:
            found = await committed_offsets(self.settings, self.group)
        except KafkaError:  # a new broker has no coordinator before the first group
            return 0
        return sum(found.values())


@asynccontextmanager
async def open_topics(settings: KafkaSettings, store: StoreSettings) -> AsyncIterator[Topics]:
    await ensure_topics(settings, [CHANGES, DELIVERIES, DEADLETTERS])
    async with Producer.open(settings, client_id="test") as producer, open_database(store) as database:
        await upgrade(database)
        yield Topics(settings, producer, database)


QUICK = Pauses(first_s=0.01, longest_s=0.05)


@asynccontextmanager
async def working(
    topics: Topics,
    sink: Recorder,
    *,
    instance: str = "one",
    pauses: Pauses = QUICK,
    stop: asyncio.Event | None = None,
    at: At = pass_by,
    **more: Any,
) -> AsyncIterator[Worker[EntityChange, Outcome]]:
    """A worker that runs for the length of the block and is stopped at its end; fails as the worker does."""
    limits = {name: more.pop(name) for name in list(more) if name in {item.name for item in fields(Limits)}}
    settings = WorkerSettings(
        group=topics.group,
        instance=instance,
        session_timeout_s=6.0,
        limits=Limits(pauses=pauses, **limits),
        **more,
    )
    stop = stop or asyncio.Event()
    worker = Worker(
        sink,
        ChangesFeed(),
        producer=topics.producer,
        kafka=topics.settings,
        stores=topics.stores,
        settings=settings,
        at=at,
    )
    running = asyncio.create_task(worker.run(stop))
    try:
        yield worker
        stop.set()
        async with asyncio.timeout(30):
            await running
    finally:
        running.cancel()
        await asyncio.wait({running})
