"""What faust_batches.py leans on inside Faust, mode and aiokafka; an upgrade that changes it fails here."""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import mode
import pytest
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage

from processors.faust_batches import BatchConsumer, BatchTransport, OnBatch, Worker
from runtime.kafka import Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings, ProcessorsSettings
from schemas.record import Record
from schemas.topics import WEBHOOKS
from tests.processors.pipeline import (
    FAUST_LEAVES_ITS_LOOP_OPEN,
    Pipeline,
    collect_quietly,
    group_of,
    pipeline_on,
    until,
)

pytestmark = [pytest.mark.anyio, FAUST_LEAVES_ITS_LOOP_OPEN]


@pytest.fixture(autouse=True)
def _nothing_left_for_the_next_test() -> Iterator[None]:
    yield
    collect_quietly()


PINNED = ("faust-streaming", "aiokafka", "mode-streaming")


@pytest.mark.parametrize("name", PINNED)
def test_the_installed_version_is_the_pinned_one(name: str) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pinned,) = [item for item in project["dependencies"] if item.split("==")[0].split("[")[0] == name]
    assert pinned.split("==")[1] == version(name)


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (Consumer, "getmany", ["self", "timeout"]),
        (Consumer, "_wait_next_records", ["self", "timeout"]),
        (Consumer, "perform_seek", ["self"]),
        (driver.Consumer, "_commit", ["self", "offsets"]),
        (driver.Consumer, "assignment", ["self"]),
        (faust.App, "start", ["self"]),
        (faust.App, "stop", ["self"]),
        (faust.App, "wait_until_stopped", ["self"]),
        (faust.Schema, "loads_key", ["self", "app", "message", "loads", "serializer"]),
        (faust.Schema, "loads_value", ["self", "app", "message", "loads", "serializer"]),
    ],
)
def test_what_is_overridden_or_called_has_the_signature_that_is_relied_on(
    owner: type, name: str, parameters: list[str]
) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters)[: len(parameters)] == parameters


def test_a_consumer_message_has_the_fields_that_are_filled_in() -> None:
    assert list(inspect.signature(ConsumerMessage).parameters) == [
        "topic",
        "partition",
        "offset",
        "timestamp",
        "timestamp_type",
        "headers",
        "key",
        "value",
        "checksum",
        "serialized_key_size",
        "serialized_value_size",
        "tp",
        "time_in",
        "time_out",
        "time_total",
        "generation_id",
    ]


def test_the_message_loop_takes_what_getmany_yields_and_reads_no_more_of_it_than_offset_and_topic() -> None:
    loop = inspect.getsource(Consumer._drain_messages)
    assert "getmany = self.getmany" in loop
    assert "async for tp, message in ait:" in loop
    assert {part.split("(")[0] for part in loop.split("message.")[1:] if part[:1].isalpha()} & {
        "ack",
        "incref",
    } == set()


def worker_on(kafka: KafkaSettings, on_batch: OnBatch) -> tuple[Worker, list[frozenset[Partition]]]:
    assigned: list[frozenset[Partition]] = []

    async def on_assigned(partitions: frozenset[Partition]) -> None:
        assigned.append(partitions)

    async def on_revoked(_: frozenset[Partition]) -> None:
        pass

    worker = Worker(
        kafka,
        ProcessorsSettings(group=group_of(kafka), session_timeout_s=6),
        topic=kafka.topic_prefix + WEBHOOKS.name,
        instance="contract",
        on_batch=on_batch,
        on_assigned=on_assigned,
        on_revoked=on_revoked,
    )
    return worker, assigned


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(worker.run())
    try:
        yield task
    finally:
        await worker.stop()
        async with asyncio.timeout(30):
            await asyncio.wait({task})


async def test_the_worker_is_made_of_the_overrides(kafka: KafkaSettings) -> None:
    async def on_batch(_: Partition, __: Sequence[Record]) -> None:
        pass

    worker, _ = worker_on(kafka, on_batch)
    app = worker._app
    assert isinstance(app.transport, BatchTransport)
    assert app.transport.Consumer is BatchConsumer
    assert repr(app.conf.agent_supervisor) == repr(mode.CrashingSupervisor)
    consumer = app.consumer
    assert isinstance(consumer, BatchConsumer)
    assert consumer.flow_active is True
    assert consumer._buffered_partitions == set()
    assert isinstance(app.consumer_generation_id, int)


async def fill(pipeline: Pipeline, count: int) -> None:
    for number in range(count):
        await pipeline.raw(None, str(number).encode(), ("n", b"%d" % number), partition=number % 2)


async def test_batches_arrive_whole_and_in_order_with_the_records_own_offsets_and_nothing_is_committed_by_itself(
    kafka: KafkaSettings,
) -> None:
    got: list[tuple[Partition, list[Record]]] = []

    async def on_batch(partition: Partition, records: Sequence[Record]) -> None:
        got.append((partition, list(records)))

    async with pipeline_on(kafka) as pipeline:
        await fill(pipeline, 300)
        worker, assigned = worker_on(kafka, on_batch)

        async def all_arrived() -> bool:
            return sum(len(records) for _, records in got) >= 300

        async with running(worker):
            await until(all_arrived)
            parts = await pipeline.reader.partitions(kafka.topic_prefix + WEBHOOKS.name)
            assert assigned[-1] == frozenset(parts)
        for partition in parts:
            mine: list[Any] = [record for where, records in got if where == partition for record in records]
            stored = await pipeline.records(partition)
            assert [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in mine] == [
                (r.offset, r.timestamp, r.key, r.value, r.headers) for r in stored
            ]
        assert len(got) < 100
        assert await committed_offsets(kafka, group_of(kafka)) == {}


async def test_what_was_told_to_commit_is_committed_exactly_and_a_strange_partition_is_refused(
    kafka: KafkaSettings,
) -> None:
    answers: list[bool] = []

    async def on_batch(partition: Partition, records: Sequence[Record]) -> None:
        if partition.number == 0:
            answers.append(await worker.commit({partition: records[0].offset + 1}))
            answers.append(await worker.commit({Partition(partition.topic, 7): 1}))

    async with pipeline_on(kafka) as pipeline:
        await pipeline.raw(None, b"x", partition=0)
        worker, _ = worker_on(kafka, on_batch)

        async def answered() -> bool:
            return len(answers) == 2

        async with running(worker):
            await until(answered)
        assert answers == [True, False]
        topic = kafka.topic_prefix + WEBHOOKS.name
        assert await committed_offsets(kafka, group_of(kafka)) == {Partition(topic, 0): 1}


async def test_an_exception_in_the_agent_ends_the_worker_with_it_and_passes_nothing_over(kafka: KafkaSettings) -> None:
    """Faust's default supervisor restarts the agent and goes on with the next batch."""
    seen: list[int] = []

    async def on_batch(_: Partition, records: Sequence[Record]) -> None:
        seen.append(records[0].offset)
        raise ZeroDivisionError("in the agent")

    async with pipeline_on(kafka) as pipeline:
        await pipeline.raw(None, b"first", partition=0)
        worker, _ = worker_on(kafka, on_batch)
        with pytest.raises(ZeroDivisionError, match="in the agent"):
            async with asyncio.timeout(40):
                await worker.run()
        assert seen == [0]
        assert await committed_offsets(kafka, group_of(kafka)) == {}


async def test_a_worker_that_is_stopped_before_it_got_any_partition_ends_cleanly(kafka: KafkaSettings) -> None:
    async def on_batch(_: Partition, __: Sequence[Record]) -> None:
        raise AssertionError

    async with pipeline_on(kafka):
        worker, _ = worker_on(kafka, on_batch)
        async with running(worker) as task:
            await asyncio.sleep(0)
        assert task.exception() is None


async def test_records_stay_as_they_were_parsed(kafka: KafkaSettings) -> None:
    """Were they turned into objects of aiokafka's, all would work, at three quarters of the speed."""
    kinds: set[type] = set()

    async def on_batch(_: Partition, records: Sequence[Record]) -> None:
        kinds.update(map(type, records))

    async with pipeline_on(kafka) as pipeline:
        worker, _ = worker_on(kafka, on_batch)

        async def parsed_came() -> bool:
            await pipeline.raw(None, b"x", partition=0)
            return "DefaultRecord" in {kind.__name__ for kind in kinds}

        async with running(worker):
            await until(parsed_came)
