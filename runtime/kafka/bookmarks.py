"""Positions with a note beside them, kept by Kafka as the committed offsets of a group that never has a member."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, KafkaError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata

from runtime.kafka.arguments import client_arguments
from runtime.kafka.connecting import connect
from runtime.kafka.records import Partition, close, topic_partition
from runtime.kafka.topics import COORDINATOR_S, RETRY_S, open_admin
from runtime.settings import KafkaSettings

MAX_NOTE = 4_096
"""Characters of a note: what a broker takes unless it is told otherwise (`offset.metadata.max.bytes`)."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """How far somebody is in a partition."""

    position: int
    """Offset of the next record to read."""
    note: str


class Bookmarks:
    """Sets the bookmarks of one group; kill -9 leaves those that were set last.

    Kafka forgets them `offsets.retention.minutes` (7 days by default) after the last one was set.
    """

    def __init__(self, kafka: AIOKafkaConsumer) -> None:
        self._kafka = kafka

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, group: str) -> AsyncIterator[Bookmarks]:
        """Connect; disconnect on leaving."""
        kafka = AIOKafkaConsumer(
            **client_arguments(settings), client_id=group, group_id=group, enable_auto_commit=False
        )
        try:
            await connect(kafka, settings)
            yield cls(kafka)
        finally:
            await close(kafka)

    async def put(self, bookmarks: Mapping[Partition, Bookmark]) -> None:
        """Return when Kafka has them.

        Raises:
            KafkaError: it may not have them.
        """
        marks = {topic_partition(one): OffsetAndMetadata(mark.position, mark.note) for one, mark in bookmarks.items()}
        if missing := [one for one in marks if one not in self._kafka.assignment()]:
            assigned = [*self._kafka.assignment(), *missing]
            self._kafka.assign(assigned)
            # Only what is assigned can be committed, and what is assigned is fetched unless it is paused.
            self._kafka.pause(*assigned)
        await self._kafka.commit(marks)


async def read_bookmarks(settings: KafkaSettings, group: str) -> dict[Partition, Bookmark]:
    """What was set last; nothing if the group does not exist.

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
                if not error.retriable or time.monotonic() > end:
                    raise
                await asyncio.sleep(RETRY_S)
    return {
        Partition(tp.topic, tp.partition): Bookmark(mark.offset, mark.metadata)
        for tp, mark in found.items()
        if mark.offset >= 0
    }


async def groups_with(settings: KafkaSettings, prefix: str) -> list[str]:
    """Names of the groups that begin so, in order."""
    async with open_admin(settings) as admin:
        return sorted(name for name, *_ in await admin.list_consumer_groups() if name.startswith(prefix))


async def delete_group(settings: KafkaSettings, group: str) -> None:
    """Let Kafka forget a group without members; nothing happens if it does not exist.

    Raises:
        KafkaError: it has members, or the brokers cannot be reached.
    """
    async with open_admin(settings) as admin:
        await _delete(admin, group)


async def _delete(admin: AIOKafkaAdminClient, group: str) -> None:
    coordinator = await admin.find_coordinator(group)
    # The admin client has no such call; the request is aiokafka's own.
    response = await admin._send_request_to_node(coordinator, DeleteGroupsRequest([group]))  # noqa: SLF001
    for name, code in response.results:
        if code and for_code(code) is not GroupIdNotFound:
            raise for_code(code)(f"group {name}")
