"""The sink worker: reads servicetrade.changes, has a sink act on every change, and commits what has an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field

from runtime.kafka import GroupConsumer, Partition, Producer
from runtime.settings import KafkaSettings
from schemas.record import LogRecord
from schemas.topics import CHANGES
from sinks.lanes import Lanes
from sinks.pauses import Pauses
from sinks.progress import Progress
from sinks.reports import Reports
from sinks.sink import Sink

READ_AT_ONCE = 500
POLL_S = 1.0
COMMIT_EVERY_S = 0.1
LAST_COMMIT_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a sink is run.

    Args:
        group: consumer group; the sink's place on the topic is kept under this name.
        instance: name of this worker, the same after a restart (static membership).
        session_timeout_s: silence after which the group gives the partitions to others.
        concurrency: entities that the sink is called for at a time.
        pauses: after failures.
        most_in_memory: changes without an outcome, over all partitions, above which nothing is read.
        most_uncommitted: changes of one partition that a commit cannot pass yet, above which it is not read: so many
            are repeated at most after a crash.
        drain_s: when stopped, how long calls of the sink may go on.
        hand_over_s: the same before a rebalance; all of the group waits for it.
    """

    group: str
    instance: str
    session_timeout_s: float
    concurrency: int
    pauses: Pauses = field(default_factory=Pauses)
    most_in_memory: int = 2_000
    most_uncommitted: int = 2_000
    drain_s: float = 10.0
    hand_over_s: float = 4.0


class Worker:
    """One member of a sink's group. `run` is called once."""

    def __init__(self, sink: Sink, producer: Producer, kafka: KafkaSettings, settings: WorkerSettings) -> None:
        self._sink = sink
        self._kafka = kafka
        self._settings = settings
        self._reports = Reports(sink.name, producer, topic_prefix=kafka.topic_prefix)
        self._progress: dict[Partition, Progress] = {}
        self._committing = asyncio.Lock()
        self._finished = asyncio.Event()
        """Something is to be committed."""
        self._room = asyncio.Event()
        """Something that held back reading has changed."""
        self._joined = False

    def ready(self) -> Mapping[str, bool]:
        """Condition for /readyz: this worker is a member of the group, and has read once."""
        return {"joined": self._joined}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what the sink was called for, commit, and leave.

        Raises:
            ExceptionGroup: of KafkaError, or of what the sink raised; nothing more is committed then.
        """
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            lanes = self._lanes(tasks)
            stopped = tasks.create_task(stop.wait())
            joining = tasks.create_task(stack.enter_async_context(self._member(lanes)))
            await asyncio.wait({stopped, joining}, return_when=asyncio.FIRST_COMPLETED)
            if not joining.done():
                joining.cancel()
                return
            consumer = joining.result()
            reading = tasks.create_task(self._read(consumer, lanes))
            committing = tasks.create_task(self._commit_as_it_goes(consumer))
            await stopped
            reading.cancel()
            committing.cancel()
            await self._settle(consumer, lanes, self._settings.drain_s)

    def _lanes(self, tasks: asyncio.TaskGroup) -> Lanes:
        return Lanes(
            self._sink,
            self._reports,
            concurrency=self._settings.concurrency,
            pauses=self._settings.pauses,
            finished=self._finish,
            tasks=tasks,
        )

    def _member(self, lanes: Lanes) -> AbstractAsyncContextManager[GroupConsumer]:
        async def hand_over(consumer: GroupConsumer) -> None:
            await self._settle(consumer, lanes, self._settings.hand_over_s)

        return GroupConsumer.open(
            self._kafka,
            topic=self._kafka.topic_prefix + CHANGES.name,
            group=self._settings.group,
            instance=self._settings.instance,
            session_timeout_s=self._settings.session_timeout_s,
            on_revoked=hand_over,
        )

    async def _settle(self, consumer: GroupConsumer, lanes: Lanes, within_s: float) -> None:
        """Bring what is under way to an end, commit, and forget: the next read starts from the commit."""
        try:
            await lanes.settle(within_s)
            # Without a commit these changes are given to the sink again, which may happen at any time.
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_COMMIT_S):
                    await self._commit(consumer)
        finally:
            self._progress.clear()
            self._room.set()

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, consumer: GroupConsumer, lanes: Lanes) -> None:
        while True:
            self._room.clear()
            assigned, full = consumer.assignment(), self._full()
            if lanes.unfinished >= self._settings.most_in_memory or (assigned and assigned <= full):
                await self._room.wait()
                continue
            at_most = min(READ_AT_ONCE, self._settings.most_in_memory - lanes.unfinished)
            batches = await consumer.read(wait_s=POLL_S, at_most=at_most, skip=full)
            # No await from here on: a rebalance may begin at any, and these records would not be ours any more.
            self._joined = True
            for partition, records in batches.items():
                progress = self._progress.setdefault(partition, Progress())
                for record in records:
                    progress.read(record.offset)
                    lanes.add(record)

    def _full(self) -> frozenset[Partition]:
        most = self._settings.most_uncommitted
        return frozenset(partition for partition, progress in self._progress.items() if progress.held >= most)

    # -- committing --------------------------------------------------------------------------------------------------

    def _finish(self, record: LogRecord) -> None:
        self._progress[Partition(record.topic, record.partition)].finish(record.offset)
        self._finished.set()
        self._room.set()

    async def _commit_as_it_goes(self, consumer: GroupConsumer) -> None:
        while True:
            await self._finished.wait()
            self._finished.clear()
            await self._commit(consumer)
            await asyncio.sleep(COMMIT_EVERY_S)

    async def _commit(self, consumer: GroupConsumer) -> None:
        async with self._committing:
            moved = {
                partition: (progress, progress.position)
                for partition, progress in self._progress.items()
                if progress.position is not None and progress.position != progress.committed
            }
            # Refused, because a rebalance has begun: it is repeated when the partitions are handed over.
            if moved and await consumer.commit({partition: position for partition, (_, position) in moved.items()}):
                for progress, position in moved.values():
                    progress.committed = position
