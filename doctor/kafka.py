"""The checks of Kafka: can it be reached, are the topics as they should be, does somebody work at every stage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from doctor.checks_cluster import clock_finding, cluster_findings
from doctor.checks_groups import group_findings
from doctor.checks_topics import TopicWanted, topic_findings
from doctor.finding import BROKER, GROUPS, TOPICS, Finding
from doctor.patience import Patience
from runtime.kafka import KafkaError
from runtime.kafka.describing import describe
from runtime.kafka.topics import full_name, wanted_config
from runtime.settings import Settings
from schemas.errors import TradewindError
from schemas.topics import CHANGES, COMMANDS, WEBHOOKS
from schemas.topics import TOPICS as ALL_TOPICS
from views.status_data import Flow
from views.status_stages import FlowReader, groups_of

AWAY = "Kafka is not reachable"

Tell = Callable[[Finding], None]
_FAILURES = (KafkaError, TradewindError, OSError)  # TimeoutError is one of OSError


async def check_kafka(settings: Settings, tell: Tell, patience: Patience) -> None:
    """Tell what is found, as it is found."""
    kafka, wanted = settings.kafka, list(_wanted(settings))
    try:
        async with asyncio.timeout(patience.reach_s):
            cluster, seen = await describe(kafka, [one.name for one in wanted])
    except _FAILURES as error:
        tell(_unreachable(kafka.bootstrap_servers, error, patience))
        tell(TOPICS.not_checked("all topics", AWAY))
        tell(GROUPS.not_checked("all stages", AWAY))
        return
    for finding in cluster_findings(cluster, kafka.bootstrap_servers, kafka.replication_factor):
        tell(finding)
    for one in wanted:
        for finding in topic_findings(one, seen.get(one.name)):
            tell(finding)
    needed = [full_name(kafka, topic) for topic in (WEBHOOKS, CHANGES, COMMANDS)]
    if missing := [name for name in needed if name not in seen]:
        tell(GROUPS.not_checked("all stages", f"{', '.join(missing)} is not there"))
    else:
        await _check_groups(settings, tell, patience)


def _wanted(settings: Settings) -> Iterator[TopicWanted]:
    kafka = settings.kafka
    for topic in ALL_TOPICS:
        yield TopicWanted(
            topic=topic,
            name=full_name(kafka, topic),
            config=wanted_config(kafka, topic),
            replication_factor=kafka.replication_factor,
            restore_ms=settings.pipeline.restore_ms,
            servers=kafka.bootstrap_servers,
        )


def _unreachable(servers: str, error: Exception, patience: Patience) -> Finding:
    what = f"cannot be reached: {str(error) or f'no answer within {patience.reach_s:g} s'}"
    do = (
        "start it (`tradewind broker`, or your Kafka), or put kafka.bootstrap_servers right; if it is up, its "
        "advertised.listeners have to name addresses that this machine reaches"
    )
    return BROKER.failed(servers, what, do)


async def _check_groups(settings: Settings, tell: Tell, patience: Patience) -> None:
    try:
        async with asyncio.timeout(patience.groups_s):
            flow = await FlowReader(settings).read()
    except _FAILURES as error:
        what = f"Kafka does not tell how far they are: {str(error) or f'no answer within {patience.groups_s:g} s'}"
        do = "look at the brokers' logs: who coordinates the groups; and what this user may describe"
        tell(GROUPS.failed("all stages", what, do))
        return
    tell(clock_finding(flow.last_append_ms, time.time_ns() // 1_000_000))
    for finding in _groups(settings, flow):
        tell(finding)


def _groups(settings: Settings, flow: Flow) -> Iterator[Finding]:
    # The mirror and the commands are always configured; of the others each has a table because somebody wants it.
    asked_for = {group.stage for group in groups_of(settings)} - {"mirror", "command"}
    for stage in flow.stages:
        yield from group_findings(stage, asked_for=stage.name in asked_for)
