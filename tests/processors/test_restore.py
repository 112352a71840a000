"""Restoring a partition from the log: where it reads from, which rules hold there, and when it refuses."""

from __future__ import annotations

import asyncio

import pytest

from processors.consolidator import Consolidator
from processors.restore import read_rules_history, restore, rules_at
from processors.window import Origin
from runtime.kafka import Partition
from runtime.settings import KafkaSettings
from schemas.encoding import encode
from schemas.errors import LogGapError
from schemas.record import LogRecord
from schemas.rules import RulesInForce
from schemas.topics import CONTROL_HEADER, RULES, WEBHOOKS
from tests.processors.pipeline import TIMES, Pipeline, job, pipeline_on, removed_before

pytestmark = pytest.mark.anyio

HERE = Partition("servicetrade.webhooks", 3)


def entry(offset: int, *, account: str = "acme", partition: int = 3, quiet_ms: int = 500) -> RulesInForce:
    rules = {"default": {"quiet_ms": quiet_ms, "ceiling_ms": 1_000}, "types": {}}
    return RulesInForce(account=account, version="v", topic=HERE.topic, partition=partition, offset=offset, rules=rules)


def test_the_rules_of_the_highest_position_before_the_start_hold_whatever_their_order_in_the_topic() -> None:
    history = [
        entry(7, quiet_ms=7),
        entry(2, quiet_ms=2),
        entry(9, quiet_ms=9),
        entry(7, quiet_ms=7),
        entry(8, quiet_ms=8, partition=4),
        entry(1, quiet_ms=1, account="bolt"),
    ]
    found = rules_at(history, HERE, 9, max_ceiling_ms=60_000)
    assert {account: rules.default.quiet_ms for account, rules in found.items()} == {"acme": 7, "bolt": 1}
    assert rules_at(history, HERE, 1, max_ceiling_ms=60_000) == {}


NEVER_YOUNGER = 2**60
"""Milliseconds: whatever is missing may have been removed by retention."""


async def a_log(pipeline: Pipeline) -> tuple[Partition, list[LogRecord]]:
    await pipeline.rules("acme")
    for number in range(8):
        await pipeline.post("acme", job(number % 3, userId=number), message_id=f"m{number % 6}")
    partition = Partition(pipeline.kafka.topic_prefix + WEBHOOKS.name, 0)
    return partition, await pipeline.records(partition)


async def test_what_comes_out_after_any_position_is_the_same_as_without_a_restart(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        partition, records = await a_log(pipeline)
        last = records[-1]
        tick = LogRecord(
            offset=last.offset + 1, timestamp=last.timestamp + 60_000, headers=((CONTROL_HEADER, b"tick"),)
        )
        for position in range(len(records) + 1):
            whole = Consolidator(Origin(partition.topic, 0, 1), TIMES)
            whole.feed(records[:position])
            restored = await restore(
                pipeline.reader,
                partition,
                position,
                epoch=1,
                times=TIMES,
                history=[],
                oldest_ms=NEVER_YOUNGER,
                accept_loss=False,
            )
            assert restored.position == position
            assert restored.records == position
            rest = [*records[position:], tick]
            assert encode(restored.consolidator.feed(rest).changes) == encode(whole.feed(rest).changes)


async def test_without_a_committed_offset_reading_starts_with_the_log(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        partition, _ = await a_log(pipeline)
        fresh = await restore(
            pipeline.reader, partition, None, epoch=1, times=TIMES, history=[], oldest_ms=NEVER_YOUNGER
        )
        assert (fresh.position, fresh.records, fresh.last_append_ms) == (0, 0, None)


async def test_an_empty_history_of_rules_is_no_rules(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        assert await read_rules_history(pipeline.reader, kafka.topic_prefix + RULES.name) == []
        await pipeline.post("acme", job(1))  # the reader is asked for something else before it is closed
        assert len(await pipeline.all(WEBHOOKS.name)) == 1


@pytest.mark.parametrize(("committed", "told"), [(3, "3 records are lost"), (7, "may depend on")])
async def test_where_retention_removed_what_is_needed_it_refuses_and_goes_on_only_if_the_loss_is_accepted(
    kafka: KafkaSettings, committed: int, told: str
) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        partition, _ = await a_log(pipeline)
        await removed_before(kafka, partition, 6)
        with pytest.raises(LogGapError, match=told):
            await restore(
                pipeline.reader, partition, committed, epoch=1, times=TIMES, history=[], oldest_ms=NEVER_YOUNGER
            )
        async with asyncio.timeout(30):
            restored = await restore(
                pipeline.reader,
                partition,
                committed,
                epoch=1,
                times=TIMES,
                history=[],
                oldest_ms=NEVER_YOUNGER,
                accept_loss=True,
            )
        assert restored.position == max(committed, 6)


@pytest.mark.parametrize("beyond", [1, 5])
async def test_a_committed_offset_beyond_the_end_of_the_log_is_refused(kafka: KafkaSettings, beyond: int) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        partition, records = await a_log(pipeline)
        end = len(records)
        with pytest.raises(LogGapError, match=f"ends at {end}, but {end + beyond} is committed"):
            await restore(pipeline.reader, partition, end + beyond, epoch=1, times=TIMES, history=[], oldest_ms=0)
        accepted = await restore(
            pipeline.reader, partition, end + beyond, epoch=1, times=TIMES, history=[], oldest_ms=0, accept_loss=True
        )
        assert (accepted.position, accepted.records) == (end, end)


async def test_what_is_younger_than_retention_was_not_removed_by_it_so_nothing_is_missing(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        partition, _ = await a_log(pipeline)
        await removed_before(kafka, partition, 6)
        restored = await restore(pipeline.reader, partition, 7, epoch=1, times=TIMES, history=[], oldest_ms=0)
        assert (restored.position, restored.records) == (7, 1)
