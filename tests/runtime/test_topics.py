"""Topics are created as the table says, once, and differences are told rather than mended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from runtime.kafka.topics import committed_offsets, ensure_topics, full_name, require_topics, wanted_config
from runtime.settings import KafkaSettings
from schemas.errors import TopicsError
from schemas.topics import RULES, TOPICS, WEBHOOKS

pytestmark = [pytest.mark.anyio, pytest.mark.containers]

FEW = tuple(replace(topic, partitions=1) for topic in TOPICS)


async def test_topics_are_created_once_and_then_found_as_they_should_be(kafka: KafkaSettings) -> None:
    names = sorted(full_name(kafka, topic) for topic in FEW)
    first = await ensure_topics(kafka, FEW)
    assert (sorted(first.created), first.present, first.wrong) == (names, [], [])
    second = await ensure_topics(kafka, FEW)
    assert (second.created, sorted(second.present), second.wrong) == ([], names, [])


async def test_differences_are_told_by_topic_and_setting_and_left_alone(kafka: KafkaSettings) -> None:
    await ensure_topics(kafka, FEW)
    other = replace(kafka, retention_days=kafka.retention_days + 1)
    for _ in range(2):
        report = await ensure_topics(other, [replace(WEBHOOKS, partitions=3), *FEW[1:2], RULES])
        name = full_name(kafka, WEBHOOKS)
        days = 86_400_000
        assert report.wrong == [
            f"{name} has 1 partitions, not 3: create it anew",
            f"{name}: retention.ms is {90 * days}, not {91 * days}",
            f"{full_name(kafka, FEW[1])}: retention.ms is {90 * days}, not {91 * days}",
        ]


async def test_a_worker_does_not_begin_without_its_topics(kafka: KafkaSettings) -> None:
    await ensure_topics(kafka, FEW[1:])
    await require_topics(kafka, FEW[1:])
    with pytest.raises(TopicsError, match=rf"there is no topic {full_name(kafka, WEBHOOKS)}: run `tradewind topics`"):
        await require_topics(kafka, FEW)


async def test_a_worker_does_not_begin_on_a_raw_log_that_the_senders_clocks_stamp(kafka: KafkaSettings) -> None:
    # As a broker makes it that creates topics by itself.
    await ensure_topics(kafka, [replace(WEBHOOKS, partitions=1, config={})])
    with pytest.raises(TopicsError, match=r"message\.timestamp\.type is CreateTime, not LogAppendTime"):
        await require_topics(kafka, [WEBHOOKS])


async def test_two_processes_that_create_the_topics_at_the_same_time_both_succeed(kafka: KafkaSettings) -> None:
    reports = await asyncio.gather(*(ensure_topics(kafka, FEW) for _ in range(4)))
    names = {full_name(kafka, topic) for topic in FEW}
    assert {name for report in reports for name in report.created} == names
    assert all({*report.created, *report.present} == names for report in reports)


def test_the_raw_log_is_timestamped_by_the_broker_and_rules_are_kept_for_ever() -> None:
    kafka = KafkaSettings(bootstrap_servers="x", replication_factor=3)
    assert wanted_config(kafka, WEBHOOKS)["message.timestamp.type"] == "LogAppendTime"
    assert wanted_config(kafka, WEBHOOKS)["min.insync.replicas"] == "2"
    assert wanted_config(kafka, RULES)["retention.ms"] == "-1"


async def test_a_group_that_never_committed_has_no_offsets(kafka: KafkaSettings) -> None:
    assert await committed_offsets(kafka, kafka.topic_prefix + "nobody") == {}
