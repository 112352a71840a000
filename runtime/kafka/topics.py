"""Creates the topics of the table, and says where existing ones differ from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from runtime.kafka.arguments import client_arguments
from runtime.kafka.connecting import connect
from runtime.kafka.records import Partition
from runtime.settings import KafkaSettings
from schemas.errors import TopicsError
from schemas.topics import FOR_EVER_MS, MAX_RECORD_BYTES, TOPICS, Topic

_NO_ERROR = 0
COORDINATOR_S = 20.0
RETRY_S = 0.2


@dataclass(slots=True)
class TopicsReport:
    """What `ensure_topics` found and did, by full topic name."""

    created: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Sentences about what differs and cannot be mended silently."""


def full_name(settings: KafkaSettings, topic: Topic) -> str:
    """The topic's name on this cluster."""
    return settings.topic_prefix + topic.name


def wanted_config(settings: KafkaSettings, topic: Topic) -> dict[str, str]:
    """The topic settings that correctness rests on, as Kafka spells them."""
    retention_ms = FOR_EVER_MS if topic.keep_for_ever else settings.retention_ms
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "min.insync.replicas": str(max(1, settings.replication_factor - 1)),
        **topic.config,
    }


async def ensure_topics(settings: KafkaSettings, topics: Sequence[Topic] = TOPICS) -> TopicsReport:
    """Create what is missing; never changes or deletes what is there.

    Raises:
        KafkaError: no broker can be reached, or it refuses.
    """
    report = TopicsReport()
    async with open_admin(settings) as admin:
        existing = set(await admin.list_topics())
        missing = [topic for topic in topics if full_name(settings, topic) not in existing]
        await _create(admin, settings, missing, report)
        for topic in topics:
            if topic not in missing:
                report.present.append(full_name(settings, topic))
                report.wrong += await _differences(admin, settings, topic)
    return report


async def require_topics(settings: KafkaSettings, topics: Sequence[Topic]) -> None:
    """See that the topics are there and keep time as the processors need it; a worker begins with this.

    Raises:
        TopicsError: one is missing, or its timestamps are the senders'.
        KafkaError: no broker can be reached.
    """
    async with open_admin(settings) as admin:
        existing = set(await admin.list_topics())
        if missing := [name for topic in topics if (name := full_name(settings, topic)) not in existing]:
            hidden = "" if settings.security == "plaintext" else ", or let this process see it: docs/security.md"
            raise TopicsError(f"there is no topic {', '.join(missing)}: run `tradewind topics`{hidden}")
        for topic in topics:
            for sentence in await _differences(admin, settings, topic):
                if any(key in sentence for key in topic.config):
                    raise TopicsError(sentence)


@asynccontextmanager
async def open_admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin connection for as long as the block lasts.

    Raises:
        KafkaError: no broker can be reached.
        BrokerRefused: none takes this configuration.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await connect(admin, settings)
        yield admin
    finally:
        await admin.close()


async def committed_offsets(settings: KafkaSettings, group: str) -> dict[Partition, int]:
    """What a consumer group has committed, by partition; partitions without a commit are left out.

    Raises:
        KafkaError: the brokers cannot say, for as long as COORDINATOR_S.
    """
    async with open_admin(settings) as admin:
        end = time.monotonic() + COORDINATOR_S
        while True:
            try:
                found = await admin.list_consumer_group_offsets(group)
                break
            except KafkaError as error:
                # A new or restarted broker takes a moment to know who coordinates the group.
                if not error.retriable or time.monotonic() > end:
                    raise
                await asyncio.sleep(RETRY_S)
    return {Partition(tp.topic, tp.partition): meta.offset for tp, meta in found.items() if meta.offset >= 0}


async def _create(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, topics: Sequence[Topic], report: TopicsReport
) -> None:
    if not topics:
        return
    response = await admin.create_topics(
        [
            NewTopic(
                name=full_name(settings, topic),
                num_partitions=topic.partitions,
                replication_factor=settings.replication_factor,
                topic_configs=wanted_config(settings, topic),
            )
            for topic in topics
        ]
    )
    for name, code, message in (entry[:3] for entry in response.topic_errors):
        error = for_code(code)
        if code == _NO_ERROR:
            report.created.append(name)
        elif error is TopicAlreadyExistsError:  # another process was faster
            report.present.append(name)
        else:
            raise error(f"topic {name}: {message}")


async def _differences(admin: AIOKafkaAdminClient, settings: KafkaSettings, topic: Topic) -> list[str]:
    name = full_name(settings, topic)
    (described,) = await admin.describe_topics([name])
    found_partitions = len(described["partitions"])
    wrong = []
    if found_partitions != topic.partitions:
        wrong.append(f"{name} has {found_partitions} partitions, not {topic.partitions}: create it anew")
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    for code, message, *_ in response.resources:
        if code != _NO_ERROR:
            raise for_code(code)(f"topic {name}: {message}")
    actual = {entry[0]: entry[1] for resource in response.resources for entry in resource[4]}
    for key, value in wanted_config(settings, topic).items():
        if actual.get(key) != value:
            wrong.append(f"{name}: {key} is {actual.get(key)}, not {value}")
    return wrong
