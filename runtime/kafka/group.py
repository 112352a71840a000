"""A member of a consumer group that commits only what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, RebalanceInProgressError

from runtime.kafka.arguments import client_arguments
from runtime.kafka.connecting import connect
from runtime.kafka.records import READ_BYTES, Partition, close, keep_parsed, log_record, topic_partition
from runtime.settings import KafkaSettings
from schemas.record import LogRecord

_NEVER_MS = 2**31 - 1
CANCELLED_COMMIT_S = 2.0


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
        on_assigned: Callable[[], None] | None = None,
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
            on_assigned: called when a rebalance is over.
        """
        kafka = AIOKafkaConsumer(
            **client_arguments(settings),
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
        kafka.subscribe([topic], listener=_Listener(consumer, on_revoked, on_assigned))
        try:
            await connect(kafka, settings)
            keep_parsed(kafka)
            yield consumer
        finally:
            await close(kafka)

    def assignment(self) -> frozenset[Partition]:
        """The partitions owned now."""
        return frozenset(Partition(tp.topic, tp.partition) for tp in self._kafka.assignment())

    def known_end(self, partition: Partition) -> int:
        """An offset below which every record had been appended by now: the end, as of the last fetch; 0: unknown."""
        if topic_partition(partition) not in self._kafka.assignment():
            return 0
        return self._kafka.highwater(topic_partition(partition)) or 0

    async def read(
        self, *, wait_s: float, at_most: int, skip: Collection[Partition] = ()
    ) -> Mapping[Partition, Sequence[LogRecord]]:
        """Records that follow the last ones read, per partition in offset order; empty after `wait_s` of nothing.

        Partitions in `skip` stay where they are; what was fetched of them already is kept for later.
        """
        chosen = [] if not skip else [topic_partition(one) for one in self.assignment() if one not in skip]
        if skip and not chosen:  # to aiokafka, no partitions are all partitions
            await asyncio.sleep(wait_s)
            return {}
        batches = await self._kafka.getmany(*chosen, timeout_ms=round(wait_s * 1000), max_records=at_most)
        found = ((Partition(tp.topic, tp.partition), records) for tp, records in batches.items())
        return {partition: [log_record(partition, item) for item in records] for partition, records in found}

    async def commit(self, positions: Mapping[Partition, int]) -> bool:
        """Commit offsets (of the next record to read).

        Returns:
            False if the group moved on meanwhile: these partitions may belong to someone else now.
        """
        offsets = {topic_partition(partition): at for partition, at in positions.items()}
        try:
            await self._commit(offsets)
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError):
            return False
        return True

    async def _commit(self, offsets: dict[Any, int]) -> None:
        """One that is under way when its caller is cancelled is brought to its end.

        aiokafka goes on with it in a task of its own, which nobody would look at.
        """
        committing = asyncio.ensure_future(self._kafka.commit(offsets))
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            _, late = await asyncio.wait({committing}, timeout=CANCELLED_COMMIT_S)
            for task in late:
                task.cancel()
            if not late and not committing.cancelled():
                committing.exception()
            raise


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """Tells the owner of a GroupConsumer that a rebalance begins, and that it is over."""

    def __init__(
        self,
        consumer: GroupConsumer,
        on_revoked: Callable[[GroupConsumer], Awaitable[None]] | None,
        on_assigned: Callable[[], None] | None,
    ) -> None:
        self._consumer = consumer
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned

    async def on_partitions_revoked(self, _revoked: Any) -> None:
        """All partitions, also those that this member will own again."""
        if self._on_revoked is not None:
            await self._on_revoked(self._consumer)

    def on_partitions_assigned(self, _assigned: Any) -> None:
        """`read` returns what the new assignment brings."""
        if self._on_assigned is not None:
            self._on_assigned()
