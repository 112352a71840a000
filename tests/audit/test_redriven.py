"""What is redriven on a real broker: it fails again with its count raised, or comes through, and the audit agrees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from audit.audit import audit
from runtime.database import open_database
from runtime.kafka import LogReader
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings, StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.deadletter import DeadLetter, is_resolution, read_dead_letter
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, WEBHOOKS
from sinks.letter_desk import Clerk, LetterDesk
from sinks.letters import Wanted
from sinks.open_letters import OpenLetters
from tests.processors.pipeline import (
    FAUST_LEAVES_ITS_LOOP_OPEN,
    Pipeline,
    collect_quietly,
    group_of,
    job,
    pipeline_on,
    settings_on,
    until,
    values,
    working,
)
from tests.sinks.letter_making import reason

pytestmark = [pytest.mark.anyio, FAUST_LEAVES_ITS_LOOP_OPEN]


@pytest.fixture(autouse=True)
def _nothing_left_for_the_next_test() -> Iterator[None]:
    yield
    collect_quietly()


@asynccontextmanager
async def clerk_of(pipeline: Pipeline, folder: Path) -> AsyncIterator[tuple[LetterDesk, Clerk]]:
    store = StoreSettings(url=f"sqlite+aiosqlite:///{folder}/store.db", key=Secret("k"))
    async with open_database(store) as engine, LogReader.open(pipeline.kafka, client_id="desk") as reader:
        await upgrade(engine)
        desk = LetterDesk(reader, pipeline.kafka.topic_prefix + DEADLETTERS.name)
        yield desk, Clerk(desk, pipeline.producer, OpenLetters(engine))


async def redrive(pipeline: Pipeline, folder: Path) -> int:
    """Everything that is open."""
    async with clerk_of(pipeline, folder) as (desk, clerk):
        shelves = await desk.survey(Wanted())
        return sum([await clerk.redrive(shelf, shelf.resolvable()) for shelf in shelves])


async def letters(pipeline: Pipeline) -> list[DeadLetter]:
    found = [record for record in await pipeline.all(DEADLETTERS.name) if not is_resolution(record)]
    return [read_dead_letter(record.headers) for record in found]


async def caught_up(pipeline: Pipeline) -> bool:
    committed = await committed_offsets(pipeline.kafka, group_of(pipeline.kafka))
    partitions = await pipeline.reader.partitions(pipeline.kafka.topic_prefix + WEBHOOKS.name)
    ends = {partition: await pipeline.reader.end(partition) for partition in partitions}
    return all(committed.get(partition) == end for partition, end in ends.items() if end)


async def bury(pipeline: Pipeline, record: LogRecord, **changed: str) -> None:
    """Write a letter about a record."""
    letter = reason(topic=record.topic, partition=record.partition, offset=record.offset, **changed)
    topic = pipeline.kafka.topic_prefix + DEADLETTERS.name
    headers = [*record.headers, *letter.headers()]
    await (await pipeline.producer.send(topic, key=record.key, value=record.value or b"", headers=headers))


async def test_a_redriven_webhook_that_fails_again_comes_back_with_its_count_and_the_audit_agrees(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with pipeline_on(kafka) as pipeline, working(kafka):
        await pipeline.rules("acme")
        await pipeline.post("acme", 17, job(1))
        await until(pipeline.complete)
        for redrives in (1, 2):
            assert await redrive(pipeline, tmp_path) == 1
            await until(partial(_has_letters, pipeline, redrives + 1))
        (change,) = await pipeline.all(CHANGES.name)
        await bury(pipeline, change)
        async with clerk_of(pipeline, tmp_path) as (desk, clerk):
            for shelf in await desk.survey(Wanted(stage="mirror")):
                await clerk.redrive(shelf, shelf.resolvable())
        await until(lambda: caught_up(pipeline))
        assert [(one.elements, one.redrives) for one in await letters(pipeline) if one.stage == "processors"] == [
            ("0", 0),
            ("0", 1),
            ("0", 2),
        ]
        assert len(values(await pipeline.all(CHANGES.name))) == 2
        report = await audit(settings_on(kafka), keep=None, watch=lambda _done, _total: None)
        assert report.agrees, report.differences
        assert (report.total("found", "change"), report.total("repeats", "change")) == (1, 1)
        assert (report.total("found", "dead letter"), report.figures["acme"].quarantined) == (3, 3)


async def _has_letters(pipeline: Pipeline, number: int) -> bool:
    return len(await letters(pipeline)) >= number


async def test_elements_that_can_be_read_by_now_come_through_and_the_others_are_not_repeated(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with pipeline_on(kafka) as pipeline, working(kafka):
        await pipeline.rules("acme")
        body = b'{"messageId":"m","data":[%s,%s]}' % tuple(
            b'{"entity":{"type":"job","id":%d},"action":"updated"}' % number for number in (1, 2)
        )
        receipt = ("tradewind-receipt", b"r-1")
        await pipeline.raw(b"acme", body, receipt, ("tradewind-elements", b"0"))  # an older core took 1 for a bad one
        await until(pipeline.complete)
        (webhook,) = [record for record in await pipeline.all(WEBHOOKS.name) if receipt in record.headers]
        await bury(pipeline, webhook, stage="processors", elements="1")
        assert await redrive(pipeline, tmp_path) == 1
        await until(pipeline.complete)
        changes = values(await pipeline.all(CHANGES.name))
        assert sorted((change["entity_id"], change["notifications"]) for change in changes) == [("1", 1), ("2", 1)]
        redriven = [record for record in await pipeline.all(WEBHOOKS.name) if receipt in record.headers][1]
        assert redriven.headers == (
            receipt,
            ("tradewind-elements", b"1"),
            ("x-redrive-to", b"processors"),
            ("x-redrives", b"1"),
        )
