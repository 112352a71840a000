"""Reads stretches of partitions, without a group and without a trace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError

from runtime.kafka.arguments import client_arguments
from runtime.kafka.connecting import connect
from runtime.kafka.records import READ_BYTES, Partition, close, keep_parsed, log_record, topic_partition
from runtime.settings import KafkaSettings
from schemas.record import LogRecord, Record


class LogReader:
    """Reads stretches of partitions, without a group and without a trace."""

    def __init__(self, kafka: AIOKafkaConsumer) -> None:
        self._kafka = kafka

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, *, client_id: str) -> AsyncIterator[LogReader]:
        """Connect; disconnect on leaving."""
        kafka = AIOKafkaConsumer(
            **client_arguments(settings),
            client_id=client_id,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=READ_BYTES,
            # Between stretches the last partition is polled on, and a question has to wait for that poll.
            fetch_max_wait_ms=20,
        )
        try:
            await connect(kafka, settings)
            keep_parsed(kafka)
            yield cls(kafka)
        finally:
            await close(kafka)

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
        return int((await self._kafka.beginning_offsets([topic_partition(partition)]))[topic_partition(partition)])

    async def end(self, partition: Partition) -> int:
        """Offset after the last record that consumers may see."""
        return int((await self._kafka.end_offsets([topic_partition(partition)]))[topic_partition(partition)])

    async def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """`end` of several partitions, in one question."""
        ends = await self._kafka.end_offsets([topic_partition(partition) for partition in partitions])
        return {partition: int(ends[topic_partition(partition)]) for partition in partitions}

    async def first_at_or_after(self, partition: Partition, timestamp_ms: int) -> int:
        """Offset of the first record, in offset order, whose timestamp is at least that; the end if there is none."""
        tp = topic_partition(partition)
        found = (await self._kafka.offsets_for_times({tp: max(timestamp_ms, 0)}))[tp]
        return await self.end(partition) if found is None else int(found.offset)

    async def read(self, partition: Partition, start: int, stop: int) -> AsyncIterator[Sequence[LogRecord]]:
        """Batches of the records from offset `start` up to but not including `stop`, which is not beyond the end.

        Raises:
            KafkaError: `start` is no longer in the log, or the broker is gone.
        """
        async for items in self.read_parsed(partition, start, stop):
            yield [log_record(partition, item) for item in items]

    async def read_parsed(self, partition: Partition, start: int, stop: int) -> AsyncIterator[Sequence[Record]]:
        """As `read`, the records as the parser made them: they do not know their partition, and cost nothing more."""
        if start >= stop:
            return
        tp = topic_partition(partition)
        self._kafka.assign([tp])
        self._kafka.seek(tp, start)
        position = start
        while position < stop:
            for items in (await self._kafka.getmany(tp, timeout_ms=1_000)).values():
                if items and items[-1].offset >= stop:
                    items = [item for item in items if item.offset < stop]  # noqa: PLW2901 - the end of the stretch
                if items:
                    yield items
            # The position, not the last record: offsets may have gaps, even at the end.
            position = await self._kafka.position(tp)
