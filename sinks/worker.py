"""The sink worker: reads a topic, has a sink act on every record, and commits what has an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runtime.kafka import GroupConsumer, Partition, Producer
from runtime.lag import Place
from runtime.settings import KafkaSettings
from schemas.errors import StoreError
from schemas.record import LogRecord
from sinks.dispatch import Dispatch, Stores
from sinks.feed import Feed
from sinks.limits import Limits
from sinks.progress import Progress
from sinks.reports import Reports, store_failed
from sinks.sink import Sink
from sinks.steps import At, pass_by

READ_AT_ONCE = 500
POLL_S = 1.0
COMMIT_EVERY_S = 0.1
LAST_COMMIT_S = 3.0

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a sink is run.

    Args:
        group: consumer group; the sink's place on the topic is kept under this name.
        instance: name of this worker, the same after a restart (static membership).
        session_timeout_s: silence after which the group gives the partitions to others.
        limits: how far the sink goes.
        most_in_memory: changes without an outcome, over all partitions, above which nothing is read.
        most_uncommitted: changes of one partition that a commit cannot pass yet, above which it is not read: so many
            are repeated at most after a crash.
        drain_s: when stopped, how long calls of the sink may go on.
        hand_over_s: the same before a rebalance; all of the group waits for it.
    """

    group: str
    instance: str
    session_timeout_s: float
    limits: Limits = field(default_factory=Limits)
    most_in_memory: int = 2_000
    most_uncommitted: int = 2_000
    drain_s: float = 10.0
    hand_over_s: float = 4.0


class Worker(Generic[Item, Out]):
    """One member of a sink's group. `run` is called once.

    Args:
        sink: acts on what arrives.
        feed: the topic, and how its records are read and their outcomes told.
        producer: for outcomes and dead letters.
        kafka: where the topic is.
        stores: what outlives the process; their tables exist.
        settings: how to run.
        at: see `sinks.steps`.
    """

    def __init__(
        self,
        sink: Sink[Item, Out],
        feed: Feed[Item, Out],
        *,
        producer: Producer,
        kafka: KafkaSettings,
        stores: Stores,
        settings: WorkerSettings,
        at: At = pass_by,
    ) -> None:
        self._sink = sink
        self._feed = feed
        self._kafka = kafka
        self._stores = stores
        self._settings = settings
        self._at = at
        self._reports = Reports(sink.name, feed, producer, topic_prefix=kafka.topic_prefix, at=at)
        self._progress: dict[Partition, Progress] = {}
        self._early: dict[Partition, list[LogRecord]] = {}
        """Read before it was known what is parked of their partition."""
        self._committing = asyncio.Lock()
        self._finished = asyncio.Event()
        """Something is to be committed."""
        self._room = asyncio.Event()
        """Something that held back reading has changed."""
        self._joined = False
        self._owned = False
        """The partitions are this worker's: not between their handing over and the next assignment."""
        self._consumer: GroupConsumer | None = None
        self._dispatch: Dispatch[Item, Out] | None = None

    @property
    def name(self) -> str:
        """Of its sink."""
        return self._sink.name

    @property
    def group(self) -> str:
        """The consumer group that it works in."""
        return self._settings.group

    def places(self) -> Mapping[Partition, Place | None] | None:
        """Where the sink is in each partition that this worker owns now; None there: nothing of it was read yet.

        Returns:
            None before it has joined the group and during a rebalance, when nobody knows which partitions are whose.
        """
        if self._consumer is None or not self._owned:
            return None
        return {one: _place(self._progress.get(one)) for one in self._consumer.assignment()}

    def ready(self) -> Mapping[str, bool]:
        """Condition for /readyz: this worker is a member of the group, and has read once."""
        return {"joined": self._joined}

    def shown(self) -> Mapping[str, bool]:
        """What /readyz only shows: whether the sink waits for a person."""
        halted = self._dispatch is not None and self._dispatch.brake.halted is not None
        return {f"{self._sink.name} delivers": not halted}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what the sink was called for, commit, and leave.

        Raises:
            ExceptionGroup: of KafkaError, or of what the sink raised; nothing more is committed then.
        """
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(stop.wait())
            joining = tasks.create_task(stack.enter_async_context(self._member()))
            await asyncio.wait({stopped, joining}, return_when=asyncio.FIRST_COMPLETED)
            if not joining.done():
                joining.cancel()
                return
            consumer = self._consumer = joining.result()
            dispatch = self._dispatch = self._new_dispatch(consumer, tasks)
            work = (dispatch.run(), self._read(consumer, dispatch), self._commit_as_it_goes(consumer))
            working = [tasks.create_task(one) for one in work]
            await stopped
            reading, committing = working[1], working[2]
            reading.cancel()
            committing.cancel()
            await self._settle(consumer, self._settings.drain_s)
            working[0].cancel()

    def _new_dispatch(self, consumer: GroupConsumer, tasks: asyncio.TaskGroup) -> Dispatch[Item, Out]:
        return Dispatch(
            self._sink,
            self._feed,
            self._reports,
            self._stores,
            self._settings.limits,
            finished=self._finish,
            known_end=lambda record: consumer.known_end(Partition(record.topic, record.partition)),
            tasks=tasks,
            at=self._at,
        )

    def _member(self) -> AbstractAsyncContextManager[GroupConsumer]:
        async def hand_over(consumer: GroupConsumer) -> None:
            self._owned = False
            await self._settle(consumer, self._settings.hand_over_s)

        def take_over() -> None:
            self._owned = True
            self._room.set()

        return GroupConsumer.open(
            self._kafka,
            topic=self._kafka.topic_prefix + self._feed.topic.name,
            group=self._settings.group,
            instance=self._settings.instance,
            session_timeout_s=self._settings.session_timeout_s,
            on_revoked=hand_over,
            on_assigned=take_over,
        )

    async def _settle(self, consumer: GroupConsumer, within_s: float) -> None:
        """Bring what is under way to an end, commit, and forget: the next read starts from the commit."""
        try:
            if self._dispatch is not None:
                await self._dispatch.settle(within_s)
            # Without a commit these records are given to the sink again, which may happen at any time.
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_COMMIT_S):
                    await self._commit(consumer)
        finally:
            self._progress.clear()
            self._early.clear()
            self._room.set()

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, consumer: GroupConsumer, dispatch: Dispatch[Item, Out]) -> None:
        while True:
            self._room.clear()
            if not self._owned:
                await self._room.wait()
                continue
            assigned = consumer.assignment()
            if fresh := {one.number for one in assigned} - dispatch.parking.loaded:
                await self._load(dispatch, fresh)
                continue
            for partition in [one for one in self._early if one in assigned]:
                self._take(dispatch, partition, self._early.pop(partition))
            full = self._full()
            if full or dispatch.unfinished >= self._settings.most_in_memory:
                dispatch.make_room()
            if dispatch.unfinished >= self._settings.most_in_memory or (assigned and assigned <= full):
                # Also without news: what keeps failing is worth putting aside after a while.
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._room.wait()
                continue
            at_most = min(READ_AT_ONCE, self._settings.most_in_memory - dispatch.unfinished)
            batches = await consumer.read(wait_s=POLL_S, at_most=at_most, skip=full)
            # No await from here on: a rebalance may begin at any, and these records would not be ours any more.
            if not self._owned:  # it has begun: the next assignment starts from the last commit
                continue
            self._joined = True
            for partition, records in batches.items():
                if partition.number in dispatch.parking.loaded:
                    self._take(dispatch, partition, records)
                else:
                    self._early.setdefault(partition, []).extend(records)

    async def _load(self, dispatch: Dispatch[Item, Out], partitions: set[int]) -> None:
        """Get to know what is parked of these partitions; while the store is away they are not read."""
        try:
            await dispatch.parking.load(partitions)
        except StoreError as error:
            store_failed(self._sink.name, error)
            await asyncio.sleep(POLL_S)

    def _take(self, dispatch: Dispatch[Item, Out], partition: Partition, records: Sequence[LogRecord]) -> None:
        progress = self._progress.setdefault(partition, Progress())
        for record in records:
            progress.read(record.offset, record.timestamp)
        for record in records:
            dispatch.add(record)

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
            if not moved:
                return
            self._at("committing")
            if await consumer.commit({partition: position for partition, (_, position) in moved.items()}):
                self._at("committed")
                for progress, position in moved.values():
                    progress.committed = position


def _place(progress: Progress | None) -> Place | None:
    if progress is None or progress.position is None:
        return None
    return Place(progress.position, progress.oldest_ms)
