"""The Kafka adapter on a real broker: what is acknowledged, read, committed and refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from runtime.kafka import GroupConsumer, LogReader, Partition, Position, Producer, acknowledged
from runtime.kafka.topics import committed_offsets, ensure_topics
from runtime.settings import KafkaSettings
from schemas.record import LogRecord
from schemas.topics import RULES, WEBHOOKS

pytestmark = [pytest.mark.anyio, pytest.mark.containers]


@pytest.fixture
async def topic(kafka: KafkaSettings, anyio_backend: str) -> str:  # noqa: ARG001 - makes the fixture run on asyncio
    await ensure_topics(kafka, [replace(WEBHOOKS, partitions=2)])
    return kafka.topic_prefix + WEBHOOKS.name


@pytest.fixture
async def producer(kafka: KafkaSettings, topic: str) -> AsyncIterator[Producer]:  # noqa: ARG001 - exists first
    async with Producer.open(kafka, client_id="test") as producer:
        yield producer


async def fill(producer: Producer, topic: str, count: int, *, partition: int = 0) -> None:
    sent = [
        await producer.send(topic, key=b"k", value=str(number).encode(), partition=partition) for number in range(count)
    ]
    await asyncio.gather(*sent)


async def stretch(reader: LogReader, partition: Partition, start: int, stop: int) -> list[LogRecord]:
    return [record async for batch in reader.read(partition, start, stop) for record in batch]


async def test_an_acknowledged_record_stands_where_its_position_says(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    sent = await producer.send(topic, key=b"\xff", value=b"\x00", headers=[("h", b"1"), ("h", b"2")], partition=1)
    position = await acknowledged(sent)
    assert position == Position(Partition(topic, 1), 0)
    async with LogReader.open(kafka, client_id="r") as reader:
        (record,) = await stretch(reader, position.partition, 0, 1)
    assert (record.key, record.value, record.headers) == (b"\xff", b"\x00", (("h", b"1"), ("h", b"2")))
    assert (record.topic, record.partition, record.offset) == (topic, 1, 0)


async def test_the_broker_stamps_the_time_of_append(kafka: KafkaSettings, topic: str, producer: Producer) -> None:
    before = time.time() * 1000
    await fill(producer, topic, 1)
    async with LogReader.open(kafka, client_id="r") as reader:
        (record,) = await stretch(reader, Partition(topic, 0), 0, 1)
    assert before - 1 <= record.timestamp <= time.time() * 1000 + 1


async def test_a_stretch_is_read_from_start_up_to_stop_and_several_in_any_order(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    await fill(producer, topic, 2_000)
    await fill(producer, topic, 3, partition=1)
    async with LogReader.open(kafka, client_id="r") as reader:
        assert await reader.partitions(topic) == [Partition(topic, 0), Partition(topic, 1)]
        first, second = await reader.partitions(topic)
        assert (await reader.beginning(first), await reader.end(first)) == (0, 2_000)
        for start, stop in ((0, 2_000), (1_990, 2_000), (5, 6), (700, 1_300), (0, 1)):
            found = await stretch(reader, first, start, stop)
            assert [record.offset for record in found] == list(range(start, stop))
        assert [record.value for record in await stretch(reader, second, 1, 3)] == [b"1", b"2"]


async def test_a_time_finds_the_first_record_at_or_after_it(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    await fill(producer, topic, 3)
    async with LogReader.open(kafka, client_id="r") as reader:
        partition = Partition(topic, 0)
        records = await stretch(reader, partition, 0, 3)
        assert await reader.first_at_or_after(partition, -5) == 0
        assert await reader.first_at_or_after(partition, records[0].timestamp) == 0
        assert await reader.first_at_or_after(partition, records[-1].timestamp + 1) == 3
        assert await reader.first_at_or_after(Partition(topic, 1), 0) == 0


@pytest.mark.parametrize("question", ["beginning", "end", "first_at_or_after"])
async def test_a_reader_that_is_older_than_a_topic_can_be_asked_about_it(kafka: KafkaSettings, question: str) -> None:
    """aiokafka raises StaleMetadata, which it does not retry, where it does not know a partition's leader yet."""
    async with LogReader.open(kafka, client_id="r") as reader:
        await ensure_topics(kafka, [replace(WEBHOOKS, partitions=1)])
        (partition,) = await reader.partitions(kafka.topic_prefix + WEBHOOKS.name)
        arguments = (partition, 0) if question == "first_at_or_after" else (partition,)
        assert await getattr(reader, question)(*arguments) == 0


async def test_a_reader_can_be_asked_about_one_topic_after_it_read_another(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    await ensure_topics(kafka, [RULES])
    rules = Partition(kafka.topic_prefix + RULES.name, 0)
    await producer.send_all([(rules.topic, b"k", b"v", ())])
    async with LogReader.open(kafka, client_id="r") as reader:
        assert len(await stretch(reader, rules, 0, 1)) == 1
        assert await reader.end(Partition(topic, 0)) == 0


async def test_a_reader_whose_last_stretch_was_empty_can_be_closed(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    """aiokafka's fetcher can swallow the cancellation of close() right after an assignment, and hangs for ever."""
    await fill(producer, topic, 3)
    async with asyncio.timeout(20), LogReader.open(kafka, client_id="r") as reader:
        assert len(await stretch(reader, Partition(topic, 0), 0, 3)) == 3
        assert await stretch(reader, Partition(topic, 1), 0, 0) == []


async def test_a_reader_that_is_closed_right_after_it_went_to_another_partition_does_not_hang(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    await fill(producer, topic, 3)
    await fill(producer, topic, 3, partition=1)
    async with asyncio.timeout(20), LogReader.open(kafka, client_id="r") as reader:
        assert len(await stretch(reader, Partition(topic, 0), 0, 3)) == 3
        reading = asyncio.ensure_future(anext(reader.read(Partition(topic, 1), 0, 3)))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})


async def read_until(consumer: GroupConsumer, count: int) -> dict[Partition, list[LogRecord]]:
    found: dict[Partition, list[LogRecord]] = {}
    async with asyncio.timeout(30):
        while sum(map(len, found.values())) < count:
            for partition, records in (await consumer.read(wait_s=0.5, at_most=100)).items():
                found.setdefault(partition, []).extend(records)
    return found


async def test_a_group_consumer_commits_what_it_is_told_to_and_nothing_else(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    await fill(producer, topic, 5)
    group = kafka.topic_prefix + "group"
    partition = Partition(topic, 0)
    async with GroupConsumer.open(kafka, topic=topic, group=group, instance=None, session_timeout_s=6) as consumer:
        assert len((await read_until(consumer, 5))[partition]) == 5
    assert await committed_offsets(kafka, group) == {}
    async with GroupConsumer.open(kafka, topic=topic, group=group, instance=None, session_timeout_s=6) as consumer:
        assert [record.offset for record in (await read_until(consumer, 5))[partition]] == [0, 1, 2, 3, 4]
        assert consumer.assignment() == {Partition(topic, 0), Partition(topic, 1)}
        assert await consumer.commit({partition: 3})
        assert await consumer.read(wait_s=0.05, at_most=10) == {}
    assert await committed_offsets(kafka, group) == {partition: 3}
    async with GroupConsumer.open(kafka, topic=topic, group=group, instance=None, session_timeout_s=6) as consumer:
        assert [record.offset for record in (await read_until(consumer, 2))[partition]] == [3, 4]


async def test_a_commit_for_a_partition_that_went_to_another_member_is_refused_with_false(
    kafka: KafkaSettings, topic: str, producer: Producer
) -> None:
    await fill(producer, topic, 1)
    await fill(producer, topic, 1, partition=1)
    group = kafka.topic_prefix + "group"
    both = {Partition(topic, 0): 1, Partition(topic, 1): 1}
    async with GroupConsumer.open(kafka, topic=topic, group=group, instance=None, session_timeout_s=6) as first:
        assert read_keys(await read_until(first, 2)) == both.keys()
        async with GroupConsumer.open(kafka, topic=topic, group=group, instance=None, session_timeout_s=6) as second:
            async with asyncio.timeout(30):
                while len(first.assignment()) != 1 or len(second.assignment()) != 1:
                    await first.read(wait_s=0.05, at_most=1)
                    await second.read(wait_s=0.05, at_most=1)
            assert not await first.commit(both)
            (mine,) = first.assignment()
            assert await first.commit({mine: 1})


def read_keys(found: dict[Partition, list[LogRecord]]) -> set[Partition]:
    return set(found)
