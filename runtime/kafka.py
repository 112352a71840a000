"""The Kafka adapter: a durable producer, a group consumer and a reader of log stretches, over aiokafka.

aiokafka is untyped and its defaults are unsafe (acks=1, auto-commit, latest): everything that matters is set here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownTopicOrPartitionError,
)

from runtime.settings import KafkaSettings
from schemas.record import LogRecord
from schemas.topics import MAX_RECORD_BYTES

Headers = Sequence[tuple[str, bytes]]
READ_BYTES = 4 * 1024 * 1024
_NEVER_MS = 2**31 - 1
_CLOSE_S = 2.0

__all__ = ["GroupConsumer", "KafkaError", "LogReader", "Partition", "Position", "Producer"]


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of a topic, by the topic's full name."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where an acknowledged record stands."""

    partition: Partition
    offset: int


class Producer:
    """One long-lived idempotent producer per process; a record counts as sent only when all replicas have it."""

    def __init__(self, kafka: AIOKafkaProducer) -> None:
        self._kafka = kafka

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, *, client_id: str, linger_ms: int = 0) -> AsyncIterator[Producer]:
        """Connect; flush and disconnect on leaving.

        Raises:
            KafkaError: no broker can be reached.
        """
        kafka = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            linger_ms=linger_ms,
            max_batch_size=256 * 1024,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=30_000,
        )
        await kafka.start()
        try:
            yield cls(kafka)
        finally:
            await kafka.stop()

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes,
        headers: Headers = (),
        partition: int | None = None,
    ) -> asyncio.Future[Any]:
        """Put a record into the send buffer; waits while that is full.

        Returns:
            A future that resolves when all in-sync replicas have the record, or raises KafkaError. Await it: an
            error that nobody looks at is a lost record. `acknowledged` turns its result into a Position.
        """
        future: asyncio.Future[Any] = await self._kafka.send(
            topic, key=key, value=value, headers=list(headers), partition=partition
        )
        return future

    async def send_all(
        self, records: Iterable[tuple[str, bytes | None, bytes, Headers]], *, partition: int | None = None
    ) -> None:
        """Send (topic, key, value, headers) in order and wait until every one is acknowledged.

        Raises:
            KafkaError: one was not; the others may or may not have been appended.
        """
        pending = [
            await self.send(topic, key=key, value=value, headers=headers, partition=partition)
            for topic, key, value, headers in records
        ]
        if pending:
            await asyncio.gather(*pending)


async def acknowledged(sent: asyncio.Future[Any]) -> Position:
    """Wait for a record's acknowledgement.

    Raises:
        KafkaError: it was not appended, or nobody knows.
    """
    metadata = await sent
    return Position(Partition(metadata.topic, metadata.partition), metadata.offset)


class GroupConsumer:
    """A member of a consumer group that commits only what it is told to.

    Partitions can be taken away at any time: a commit for one that is no longer owned returns False, and whoever
    owns it now starts from the last commit.
    """

    def __init__(self, kafka: AIOKafkaConsumer) -> None:
        self._kafka = kafka

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        *,
        topic: str,
        group: str,
        instance: str | None,
        session_timeout_s: float,
        on_revoked: Callable[[GroupConsumer], Awaitable[None]] | None = None,
    ) -> AsyncIterator[GroupConsumer]:
        """Join `group` on `topic`, from the earliest record where nothing is committed.

        Args:
            settings: the broker.
            topic: full name.
            group: consumer group.
            instance: static membership: a restart under the same name within the session timeout causes no
                rebalance; None for a dynamic member.
            session_timeout_s: silence after which the group gives the partitions to others.
            on_revoked: awaited before every rebalance, while the group holds the partitions for this member (for
                `session_timeout_s` at most): the last moment to commit. `read` returns nothing until the rebalance is
                over, and then starts from the last commit. What it raises is logged by aiokafka and goes no further.
        """
        kafka = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=group,
            group_instance_id=instance,
            client_id=instance or group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            session_timeout_ms=round(session_timeout_s * 1000),
            heartbeat_interval_ms=round(session_timeout_s * 1000 / 5),
            max_partition_fetch_bytes=READ_BYTES,
            # A member that reads nothing for long may be waiting for the other side to come back; heartbeats, sent
            # from the same event loop, say whether it lives.
            max_poll_interval_ms=_NEVER_MS,
        )
        consumer = cls(kafka)
        kafka.subscribe([topic], listener=_Listener(consumer, on_revoked))
        try:
            await kafka.start()
            yield consumer
        finally:
            await _close(kafka)

    def assignment(self) -> frozenset[Partition]:
        """The partitions owned now."""
        return frozenset(Partition(tp.topic, tp.partition) for tp in self._kafka.assignment())

    async def read(
        self, *, wait_s: float, at_most: int, skip: Collection[Partition] = ()
    ) -> Mapping[Partition, Sequence[LogRecord]]:
        """Records that follow the last ones read, per partition in offset order; empty after `wait_s` of nothing.

        Partitions in `skip` stay where they are; what was fetched of them already is kept for later.
        """
        chosen = [] if not skip else [_tp(one) for one in self.assignment() if one not in skip]
        if skip and not chosen:  # to aiokafka, no partitions are all partitions
            await asyncio.sleep(wait_s)
            return {}
        batches = await self._kafka.getmany(*chosen, timeout_ms=round(wait_s * 1000), max_records=at_most)
        return {
            Partition(tp.topic, tp.partition): [_record(item) for item in records] for tp, records in batches.items()
        }

    async def commit(self, positions: Mapping[Partition, int]) -> bool:
        """Commit offsets (of the next record to read).

        Returns:
            False if the group moved on meanwhile: these partitions may belong to someone else now.
        """
        offsets = {TopicPartition(partition.topic, partition.number): at for partition, at in positions.items()}
        try:
            await self._kafka.commit(offsets)
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError):
            return False
        return True

    def lag(self) -> Mapping[Partition, int]:
        """Records between the last one fetched and the end of each owned partition, as far as known."""
        found = {}
        for tp in self._kafka.assignment():
            end, position = self._kafka.highwater(tp), self._kafka.last_stable_offset(tp)
            if end is not None and position is not None:
                found[Partition(tp.topic, tp.partition)] = end - position
        return found


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """Tells the owner of a GroupConsumer that a rebalance begins."""

    def __init__(self, consumer: GroupConsumer, on_revoked: Callable[[GroupConsumer], Awaitable[None]] | None) -> None:
        self._consumer = consumer
        self._on_revoked = on_revoked

    async def on_partitions_revoked(self, _revoked: Any) -> None:
        """All partitions, also those that this member will own again."""
        if self._on_revoked is not None:
            await self._on_revoked(self._consumer)

    def on_partitions_assigned(self, _assigned: Any) -> None:
        """Nothing to do: `read` returns what the new assignment brings."""


class LogReader:
    """Reads stretches of partitions, without a group and without a trace."""

    def __init__(self, kafka: AIOKafkaConsumer) -> None:
        self._kafka = kafka

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, *, client_id: str) -> AsyncIterator[LogReader]:
        """Connect; disconnect on leaving."""
        kafka = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=client_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=READ_BYTES,
            # Between stretches the last partition is polled on, and a question has to wait for that poll.
            fetch_max_wait_ms=20,
        )
        await kafka.start()
        try:
            yield cls(kafka)
        finally:
            await _close(kafka)

    async def partitions(self, topic: str) -> list[Partition]:
        """All partitions of a topic, in order.

        Raises:
            UnknownTopicOrPartitionError: it does not exist.
        """
        # The public partitions_for_topic knows only topics that were read before, and answers none for the others.
        cluster = await self._kafka._client.fetch_all_metadata()  # noqa: SLF001
        numbers = cluster.partitions_for_topic(topic)
        if not numbers:
            raise UnknownTopicOrPartitionError(f"there is no topic {topic}: run `tradewind topics`")
        return [Partition(topic, number) for number in sorted(numbers)]

    async def beginning(self, partition: Partition) -> int:
        """Offset of the first record that retention has left, or of the next one if there is none."""
        return int((await self._kafka.beginning_offsets([_tp(partition)]))[_tp(partition)])

    async def end(self, partition: Partition) -> int:
        """Offset after the last record that consumers may see."""
        return int((await self._kafka.end_offsets([_tp(partition)]))[_tp(partition)])

    async def first_at_or_after(self, partition: Partition, timestamp_ms: int) -> int:
        """Offset of the first record, in offset order, whose timestamp is at least that; the end if there is none."""
        found = (await self._kafka.offsets_for_times({_tp(partition): max(timestamp_ms, 0)}))[_tp(partition)]
        return await self.end(partition) if found is None else int(found.offset)

    async def read(self, partition: Partition, start: int, stop: int) -> AsyncIterator[Sequence[LogRecord]]:
        """Batches of the records from offset `start` up to but not including `stop`.

        Raises:
            KafkaError: `start` is no longer in the log, or the broker is gone.
        """
        if start >= stop:
            return
        tp = _tp(partition)
        self._kafka.assign([tp])
        self._kafka.seek(tp, start)
        position = start
        while position < stop:
            for items in (await self._kafka.getmany(tp, timeout_ms=1_000)).values():
                batch = [_record(item) for item in items if item.offset < stop]
                if batch:
                    yield batch
            # The position, not the last record: offsets may have gaps, even at the end.
            position = await self._kafka.position(tp)


async def _close(consumer: AIOKafkaConsumer) -> None:
    """Disconnect.

    Closing, aiokafka 0.14 cancels its fetcher and waits for it, but a fetcher that was given other partitions a
    moment before takes that for the end of an old fetch and goes on for ever. The time-out cancels it once more.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await consumer.stop()


def _tp(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def _record(item: Any) -> LogRecord:
    return LogRecord(
        topic=item.topic,
        partition=item.partition,
        offset=item.offset,
        timestamp=item.timestamp,
        key=item.key,
        value=item.value,
        headers=tuple(item.headers),
    )
