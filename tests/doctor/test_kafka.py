"""What the doctor says of a real broker: release, topics, stages, and of one that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from doctor.checks_cluster import release_of
from doctor.kafka import AWAY, check_kafka
from doctor.patience import Patience
from runtime.broker_config import free_port
from runtime.broker_install import KAFKA_VERSION
from runtime.kafka import GroupConsumer, Partition, Producer, acknowledged
from runtime.kafka.describing import describe
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings, read_settings
from schemas.topics import CHANGES, COMMANDS, DEADLETTERS, DELIVERIES, RESULTS, RULES, TOPICS, WEBHOOKS, Topic
from tests.doctor.examining import FAILED, NOT_CHECKED, OK, WARNING, Report, make_topics, on_kafka, silent_server
from tests.processors.pipeline import committing, removed_before

pytestmark = pytest.mark.anyio

CONFIG = """
[kafka]
bootstrap_servers = "of-no-use"
[store]
url = "sqlite+aiosqlite:///of-no-use.db"
key = { file = "key" }
[accounts.acme]
username = "u"
password = { file = "secret" }
hook_secret = { file = "secret" }
"""
DAY_MS = 86_400_000


@pytest.fixture
def config(kafka: KafkaSettings, tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(Fernet.generate_key().decode())
    (tmp_path / "secret").write_text("of-no-use-in-this-test")
    found = tmp_path / "tradewind.toml"
    found.write_text(CONFIG)
    on_kafka(found, kafka)
    return found


def lead_to(config: Path, where: str, kafka: KafkaSettings) -> None:
    config.write_text(config.read_text().replace(kafka.bootstrap_servers, where))


async def checked(config: Path, patience: Patience | None = None) -> Report:
    report = Report()
    await check_kafka(read_settings(config), report.findings.append, patience or Patience())
    return report


def few(*topics: Topic) -> list[Topic]:
    """The same with a partition each: a broker makes them sooner."""
    return [replace(topic, partitions=1) for topic in topics]


async def test_a_new_cluster_is_all_right_but_that_nobody_works_as_processors(
    config: Path, kafka: KafkaSettings
) -> None:
    await make_topics(kafka)
    report = await checked(config)
    assert report.states("topics") == {full_name(kafka, topic): OK for topic in TOPICS}
    assert report.one("topics", full_name(kafka, WEBHOOKS)).what == "12 partitions, kept for 90 d"
    assert report.one("topics", full_name(kafka, RULES)).what == "1 partition, kept for ever"
    assert report.states("groups") == {"processors": WARNING, "mirror": OK, "command": OK}
    processors = report.one("groups", "processors")
    assert "nobody works" in processors.what
    assert processors.do == "start `tradewind processors`"
    assert report.states("broker") == {
        kafka.bootstrap_servers: OK,
        "release": OK,
        "replication": OK,
        "clock": NOT_CHECKED,
    }
    assert report.one("broker", "replication").what.endswith("no second copy of anything")


async def test_the_release_is_told_by_the_versions_of_the_protocol_that_the_broker_speaks(
    kafka: KafkaSettings,
) -> None:
    cluster, topics = await describe(kafka, [full_name(kafka, WEBHOOKS)])
    assert KAFKA_VERSION.startswith(release_of(cluster.versions))
    assert release_of(cluster.versions) >= "4"
    assert [broker.address for broker in cluster.brokers] == [kafka.bootstrap_servers]
    assert topics == {}


async def test_each_topic_that_is_not_as_it_should_be_is_told_with_what_to_do(
    config: Path, kafka: KafkaSettings
) -> None:
    await make_topics(kafka, few(replace(WEBHOOKS, config={})))
    await make_topics(replace(kafka, retention_days=30), few(CHANGES))
    await make_topics(kafka, [replace(COMMANDS, partitions=3), *few(RULES)])
    settings = {"max.message.bytes": "1000", "cleanup.policy": "compact", "retention.bytes": "99"}
    await make_topics(kafka, few(replace(DEADLETTERS, config=settings)))
    await make_topics(replace(kafka, replication_factor=1), few(replace(RESULTS, config={"min.insync.replicas": "2"})))
    report = await checked(config)
    found = {topic.name: report.of("topics", full_name(kafka, topic)) for topic in TOPICS}

    (missing,) = found[DELIVERIES.name]
    assert (missing.state, missing.what) == (FAILED, "is not there")
    assert "`tradewind topics`" in missing.do

    partitions, stamps = found[WEBHOOKS.name]
    assert partitions.what.startswith("has 1 partition, not 12: ")
    assert partitions.do.endswith("with a higher kafka.log_epoch")
    assert stamps.state is FAILED
    assert "message.timestamp.type is CreateTime, not LogAppendTime: windows open and close by the brok" in stamps.what
    assert stamps.do == (
        f"kafka-configs.sh --bootstrap-server {kafka.bootstrap_servers} --alter --entity-type topics --entity-name "
        f"{full_name(kafka, WEBHOOKS)} --add-config message.timestamp.type=LogAppendTime"
    )

    wrong, short = found[CHANGES.name]
    assert (wrong.state, short.state) == (FAILED, WARNING)
    assert short.what.startswith(f"retention.ms is {30 * DAY_MS} (for 30 d), shorter than kafka.retention_days: a sink")
    assert short.do.endswith(f"--add-config retention.ms={90 * DAY_MS}")

    (wrong,) = found[COMMANDS.name]
    assert (wrong.state, wrong.what.split(":")[0]) == (FAILED, "has 3 partitions, not 12")

    told = [one.what.split(":")[0] for one in found[DEADLETTERS.name]]
    assert told == [
        "has 1 partition, not 12",
        "cleanup.policy is compact, not delete",
        "max.message.bytes is 1000, below 16777216",
        "retention.bytes is 99",
    ]
    assert found[RESULTS.name][1].what == "min.insync.replicas is 2, with 1 copy of each record: no write succeeds"
    assert [one.state for one in found[RULES.name]] == [OK]


async def test_without_a_topic_that_a_stage_reads_the_stages_are_not_checked(
    config: Path, kafka: KafkaSettings
) -> None:
    await make_topics(kafka, few(WEBHOOKS, COMMANDS))
    groups = (await checked(config)).one("groups")
    assert (groups.state, groups.what) == (NOT_CHECKED, f"{full_name(kafka, CHANGES)} is not there")


@asynccontextmanager
async def member(kafka: KafkaSettings, topic: Topic, group: str) -> AsyncIterator[GroupConsumer]:
    """Somebody who works in the group."""
    opening = GroupConsumer.open(kafka, topic=full_name(kafka, topic), group=group, instance=None, session_timeout_s=6)
    async with opening as consumer, asyncio.timeout(60):
        while not consumer.assignment():
            await consumer.read(wait_s=0.1, at_most=1)
        yield consumer


async def test_records_that_are_lost_or_cut_off_are_failures_and_a_worker_is_seen(
    config: Path, kafka: KafkaSettings
) -> None:
    await make_topics(kafka, few(WEBHOOKS, CHANGES, COMMANDS))
    webhooks, changes = (Partition(full_name(kafka, topic), 0) for topic in (WEBHOOKS, CHANGES))
    async with Producer.open(kafka, client_id="test") as producer:
        for _ in range(4):
            await acknowledged(await producer.send(webhooks.topic, key=b"acme", value=b"{}"))
    async with committing(kafka, f"{kafka.topic_prefix}processors") as commit:
        await commit({webhooks: 1})
    async with committing(kafka, f"{kafka.topic_prefix}sinks.mirror") as commit:
        await commit({changes: 9})
    await removed_before(kafka, webhooks, 3)
    async with member(kafka, COMMANDS, f"{kafka.topic_prefix}sinks.command"):
        report = await checked(config)
    lost, alone = report.of("groups", "processors")
    assert lost.state is FAILED
    assert lost.what == "2 records of servicetrade.webhooks lost to retention before processors did them"
    assert "`tradewind processors --accept-loss`" in lost.do
    assert (alone.state, "with 1 record to do" in alone.what) == (WARNING, True)
    cut, alone = report.of("groups", "mirror")
    assert (cut.state, alone.state) == (FAILED, WARNING)
    assert cut.what.startswith("servicetrade.changes[0] ends at 0, but 9 is committed: the log was cut off")
    command = report.one("groups", "command")
    assert (command.state, command.what) == (OK, "1 worker, 0 records to do")
    clock = report.one("broker", "clock")
    assert (clock.state, "not ahead of this machine's" in clock.what) == (OK, True)


async def test_a_broker_that_is_not_there_is_one_failure_and_what_rests_on_it_is_not_checked(
    config: Path, kafka: KafkaSettings
) -> None:
    where = f"127.0.0.1:{free_port()}"
    lead_to(config, where, kafka)
    report = await checked(config)
    broker = report.one("broker")
    assert (broker.state, broker.subject) == (FAILED, where)
    assert "cannot be reached" in broker.what
    assert "kafka.bootstrap_servers" in broker.do
    assert [(one.state, one.what) for one in (*report.of("topics"), *report.of("groups"))] == [(NOT_CHECKED, AWAY)] * 2


async def test_a_broker_that_takes_a_connection_and_says_nothing_is_given_up(
    config: Path, kafka: KafkaSettings
) -> None:
    async with silent_server() as where:
        lead_to(config, where, kafka)
        report = await checked(config, Patience(reach_s=0.2))
        assert report.one("broker").what == "cannot be reached: no answer within 0.2 s"
