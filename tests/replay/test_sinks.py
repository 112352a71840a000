"""What sinks make of a replay: nothing twice, unless it is asked for; and of offsets that somebody resets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from replay.plan import Plan
from replay.ranges import Span, find_ranges
from replay.replaying import replay
from runtime.kafka import KafkaError, Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings, StoreSettings
from schemas.topics import CHANGES, WEBHOOKS
from tests.processors.pipeline import (
    FAUST_LEAVES_ITS_LOOP_OPEN,
    Pipeline,
    collect_quietly,
    committing,
    group_of,
    job,
    pipeline_on,
    until,
)
from tests.processors.pipeline import working as processing
from tests.replay.history import History, at, history_on
from tests.servicetrade.conftest import sqlite_settings
from tests.sinks.support import Recorder, Topics, number_of, open_topics, working

__all__ = ["sqlite_settings"]
pytestmark = pytest.mark.anyio


@pytest.fixture
async def history(kafka: KafkaSettings) -> AsyncIterator[History]:
    async with history_on(kafka) as opened:
        await opened.office("acme", seconds=12)
        yield opened


@pytest.fixture
async def topics(history: History, sqlite_settings: StoreSettings) -> AsyncIterator[Topics]:
    async with open_topics(history.kafka, sqlite_settings) as opened:
        yield opened


async def into_live(history: History, redeliver: str = "") -> int:
    plan = Plan(
        id=f"t{abs(hash((history.kafka.topic_prefix, redeliver)))}"[:16],
        from_ms=at(0),
        to_ms=at(1_000),
        into="live",
        topic=history.kafka.topic_prefix + CHANGES.name,
        redeliver=redeliver,
        times=history.settings.pipeline,
        log_epoch=history.kafka.log_epoch,
    )
    ranges = await find_ranges(history.reader, history.settings, Span(from_ms=plan.from_ms, to_ms=plan.to_ms))
    return (await replay(history.settings, plan, ranges)).changes


async def outcomes(topics: Topics) -> Counter[tuple[str, str]]:
    return Counter((outcome, reason) for _, _, outcome, reason in await topics.deliveries())


async def test_what_was_delivered_is_not_delivered_twice_unless_it_is_asked_for(
    history: History, topics: Topics
) -> None:
    changes = await history.live()
    sink = Recorder()
    async with working(topics, sink):
        await topics.until_deliveries(len(changes))
        delivered = list(sink.delivered)
        assert await into_live(history) == len(changes) == len(delivered)
        await topics.until_deliveries(2 * len(changes))
        assert sink.delivered == delivered
        assert sink.again == []
        assert await outcomes(topics) == {
            ("delivered", ""): len(changes),
            ("skipped", "already delivered"): len(changes),
        }
        await into_live(history, "mirror")
        await topics.until_all_is_committed()
        assert sink.again == []
        await into_live(history, "recorder")
        await topics.until_deliveries(3 * len(changes))
        assert set(sink.again) == {number_of(change) for change in changes}
        sink.again.clear()
        await into_live(history, "*")
        await topics.until_deliveries(4 * len(changes))
        assert set(sink.again) == {number_of(change) for change in changes}


async def test_a_sink_whose_offsets_are_reset_reads_everything_again_and_does_nothing_twice(
    history: History, topics: Topics
) -> None:
    changes = await history.live()
    sink = Recorder()
    async with working(topics, sink):
        await topics.until_all_is_committed()
    delivered = list(sink.delivered)
    name = history.kafka.topic_prefix + CHANGES.name
    await reset(history.kafka, topics.group, dict.fromkeys(await history.reader.partitions(name), 0))
    async with working(topics, sink):
        await topics.until_deliveries(2 * len(changes))
    assert sink.delivered == delivered
    assert (await outcomes(topics))["skipped", "already delivered"] == len(changes)


async def reset(kafka: KafkaSettings, group: str, positions: dict[Partition, int]) -> None:
    """As `kafka-consumer-groups.sh --reset-offsets`: once the group has no members, which takes a session time-out."""

    async def accepted() -> bool:
        try:
            async with committing(kafka, group) as commit:
                return await commit(positions)
        except KafkaError:
            return False

    await until(accepted)


async def caught_up(pipeline: Pipeline) -> bool:
    committed = await committed_offsets(pipeline.kafka, group_of(pipeline.kafka))
    partitions = await pipeline.reader.partitions(pipeline.kafka.topic_prefix + WEBHOOKS.name)
    ends = {partition: await pipeline.reader.end(partition) for partition in partitions}
    return all(committed.get(partition) == end for partition, end in ends.items() if end)


async def post_some(pipeline: Pipeline) -> None:
    await pipeline.rules("acme", "bolt")
    for number in range(12):
        await pipeline.post("acme", job(number % 3), job(7))
        await pipeline.post("bolt", job(number % 2))
        await asyncio.sleep(0)


@FAUST_LEAVES_ITS_LOOP_OPEN
async def test_processors_whose_offsets_are_reset_send_the_same_changes_again(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka) as pipeline:
        async with processing(kafka):
            for _ in range(2):
                await post_some(pipeline)
                await until(pipeline.complete)
            await until(lambda: caught_up(pipeline))
        before = await pipeline.check(repeats=False)
        partitions = await pipeline.reader.partitions(kafka.topic_prefix + WEBHOOKS.name)
        # Into the middle: what is before is read again without being sent.
        await reset(kafka, group_of(kafka), {one: await middle(pipeline, one) for one in partitions})
        async with processing(kafka):
            await until(lambda: caught_up(pipeline))
            await until(pipeline.complete)
        after = await pipeline.check(repeats=True)
        assert len(before) < len(after) <= 2 * len(before)
    collect_quietly()


async def middle(pipeline: Pipeline, partition: Partition) -> int:
    return (await pipeline.reader.end(partition)) // 2
