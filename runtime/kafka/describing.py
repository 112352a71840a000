"""Asks the brokers about themselves and about topics; writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from runtime.kafka.described import Broker, Cluster, PartitionSeen, TopicSeen
from runtime.kafka.topics import open_admin
from runtime.settings import KafkaSettings


async def describe(settings: KafkaSettings, names: Sequence[str]) -> tuple[Cluster, Mapping[str, TopicSeen]]:
    """What the brokers tell of themselves, and of those of the topics that exist, by their names on this cluster.

    Raises:
        KafkaError: they cannot be reached, or do not say.
        SettingsError: they answer, but not to somebody with these settings.
    """
    async with open_admin(settings) as admin:
        described = await admin.describe_cluster()
        brokers = [
            Broker(id=node["node_id"], address=f"{node['host']}:{node['port']}") for node in described["brokers"]
        ]
        existing = set(await admin.list_topics())
        wanted = [name for name in names if name in existing]
        topics = {}
        if wanted:  # no names would mean: all topics
            partitions = {one["topic"]: one["partitions"] for one in await admin.describe_topics(wanted)}
            configs = await _configs(admin, wanted)
            topics = {name: _topic(partitions[name], *configs[name]) for name in wanted}
        return Cluster(brokers=sorted(brokers, key=lambda one: one.id), versions=_versions(admin)), topics


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, tuple[dict[str, str], str]]:
    """Of each topic its settings, or none and why they are not told."""
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    found = {}
    for code, message, _, name, *entries in (resource for answer in answers for resource in answer.resources):
        config = {entry[0]: entry[1] for entry in entries[0]}
        found[name] = (config, "") if not code else ({}, message or f"error {code}")
    return found


def _topic(partitions: Sequence[Mapping[str, Any]], config: Mapping[str, str], unread: str) -> TopicSeen:
    seen = [
        PartitionSeen(
            number=one["partition"],
            leader=one["leader"],
            replicas=len(one["replicas"]),
            in_sync=len(one["isr"]),
        )
        for one in sorted(partitions, key=lambda one: int(one["partition"]))
    ]
    return TopicSeen(partitions=seen, config=config, config_unread=unread)


def _versions(admin: AIOKafkaAdminClient) -> dict[int, int]:
    """The newest version of each API that the brokers speak which were asked."""
    # Every connection begins with this question, but the client keeps the answer to itself; held by a contract test.
    answers = [connection._versions for connection in admin._client._conns.values()]  # noqa: SLF001
    shared: set[int] = set.intersection(*(set(one) for one in answers)) if answers else set()
    return {api: min(one[api][1] for one in answers) for api in shared}
