"""Faust fed one event per fetched batch. Every override of Faust's internals is in this file and nowhere else.

Faust runs the worker: group membership, assignment, rebalance, agents, lifecycle. Its per-record loop, its acks, its
tables and its recovery are not used; docs/decisions/0001 has the measurements. tests/processors/test_faust_contract.py
fails when an upgrade changes what is relied on here.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import faust
import mode
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.tuples import Message

from runtime.kafka import READ_BYTES, IllegalStateError, Partition, client_arguments, keep_parsed
from runtime.settings import KafkaSettings, ProcessorsSettings
from schemas.errors import ProcessorsError
from schemas.record import Record

BATCH_RECORDS = 2_000
"""At most so many are unpacked, consumed and committed at once: one fetch can hold ten times as many."""
OnBatch = Callable[[Partition, Sequence[Record]], Awaitable[None]]
OnPartitions = Callable[[frozenset[Partition]], Awaitable[None]]


class _Thread(driver.AIOKafkaConsumerThread):
    """The driver's thread, except that records stay as they were parsed."""

    async def _fetch_records(self, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        keep_parsed(consumer)
        return await super()._fetch_records(consumer, *args, **kwargs)


class BatchConsumer(driver.Consumer):
    """The driver's consumer, except that what one fetch brought for a partition is one message.

    Measured on session windows over 360-byte webhooks: 2.8 thousand notifications a second with a message per
    record, 54 thousand with one per batch: Faust spends two asyncio tasks on every message.
    """

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 (Faust's signature)
        """Yield one message per partition fetched; its value is the list of records, its offset the last one's."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            # A rebalance can take partitions away meanwhile: the assignment that it ends with begins at the commits.
            with suppress(IllegalStateError):
                await self.perform_seek()
            return
        for tp, batch in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # a rebalance began: these records will be fetched again by whoever owns them then
            if batch and (active is None or tp in active or tp in self._buffered_partitions):
                yield tp, self._batch_message(tp, batch)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def _batch_message(self, tp: TP, batch: Sequence[Any]) -> Message:
        last = batch[-1]
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=last.timestamp / 1000,
            timestamp_type=last.timestamp_type,
            headers=[],
            key=None,
            value=cast("bytes", batch),  # the conductor passes it on unseen
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )


class BatchTransport(driver.Transport):
    """The driver's transport with the batching consumer."""

    Consumer = BatchConsumer


class _Untouched(faust.Schema[Any, Any]):
    """Hands a message's value to the agent as it is: there is nothing to decode in a list of records."""

    def loads_key(self, app: Any, message: Message, **kwargs: Any) -> None:
        """No key: a batch has many."""

    def loads_value(self, app: Any, message: Message, **kwargs: Any) -> Any:  # noqa: ARG002 (Faust's signature)
        """The list of records."""
        return message.value


class Worker:
    """A member of the processors' group: calls back with assignments and batches, commits what it is told to.

    Args:
        kafka: the broker.
        settings: group and time-outs.
        topic: full name of the raw log.
        instance: static membership: a restart under the same name causes no rebalance.
        on_batch: consumes a batch; an exception from it crashes the worker, so nothing is passed over.
        on_assigned: called with all partitions owned now, after every rebalance, before their first batch.
        on_revoked: called with the partitions that are taken away.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: ProcessorsSettings,
        *,
        topic: str,
        instance: str,
        on_batch: OnBatch,
        on_assigned: OnPartitions,
        on_revoked: OnPartitions,
    ) -> None:
        self._stopping = False
        self._app = app = faust.App(
            settings.group,
            broker=[f"aiokafka://{server}" for server in kafka.bootstrap_servers.split(",")],
            broker_credentials=_credentials(kafka),
            # Faust's default restarts an agent that raised and skips its batch; that would be loss.
            agent_supervisor=mode.CrashingSupervisor,
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            store="memory://",
            # Faust makes this folder even if nothing goes into it.
            datadir=tempfile.gettempdir(),
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=instance,
            consumer_max_fetch_size=READ_BYTES,
            broker_max_poll_records=BATCH_RECORDS,
            broker_client_id=instance,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.session_timeout_s / 5,
            # Nothing is acked, so Faust's own commits have nothing to commit.
            broker_commit_interval=3600.0,
            stream_wait_empty=False,
            # In batches: more would be fetched only to be thrown away at a rebalance.
            stream_buffer_maxsize=4,
        )
        app.transport = BatchTransport(app.conf.broker_consumer, app)
        webhooks = app.topic(topic, schema=_Untouched(), acks=False)

        async def consolidate(stream: Any) -> None:
            async for event in stream.events():
                message = event.message
                await on_batch(Partition(message.topic, message.partition), message.value)

        async def assigned(_: Any, partitions: set[TP], *__: Any, **___: Any) -> None:
            await on_assigned(_partitions(partitions))

        async def revoked(_: Any, partitions: set[TP], *__: Any, **___: Any) -> None:
            await on_revoked(_partitions(partitions))

        app.agent(webhooks, name="consolidate")(consolidate)
        app.on_partitions_assigned.connect(assigned, weak=False)  # type: ignore[arg-type]
        app.on_partitions_revoked.connect(revoked, weak=False)  # type: ignore[arg-type]

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            BaseException: whatever crashed the worker, an agent's exception included.
        """
        await self._app.start()
        try:
            await self._app.wait_until_stopped()
        finally:
            await self._app.stop()
        if self._app.crash_reason is not None:
            raise self._app.crash_reason
        if not self._stopping:
            raise ProcessorsError("Faust stopped by itself")

    async def stop(self) -> None:
        """Leave the group; a batch that is not committed then is consumed again by whoever owns it next."""
        self._stopping = True
        await self._app.stop()

    async def commit(self, positions: Mapping[Partition, int]) -> bool:
        """Commit offsets (of the next record to read); False if the group moved on meanwhile."""
        consumer = cast("BatchConsumer", self._app.consumer)
        offsets = {TP(partition.topic, partition.number): offset for partition, offset in positions.items()}
        owned = consumer.assignment()
        if not owned.issuperset(offsets):
            return False
        return bool(await consumer._commit(offsets))  # noqa: SLF001 (commits exactly these; `commit` would want acks)


def _credentials(kafka: KafkaSettings) -> faust.types.auth.CredentialsT | None:
    """What aiokafka's clients are given, as Faust wants it."""
    given = client_arguments(kafka)
    context = given.get("ssl_context")
    if "sasl_mechanism" in given:
        return faust.SASLCredentials(
            mechanism=given["sasl_mechanism"],
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


def _partitions(found: set[TP]) -> frozenset[Partition]:
    return frozenset(Partition(tp.topic, tp.partition) for tp in found)
