"""A raw log on a real broker, with times of a test's own choosing, so that nothing has to be waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaProducer

from processors.consolidator import Consolidator
from processors.window import Origin
from runtime.kafka import LogReader, Partition, Producer, partition_of
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings, Settings
from schemas.change import EntityChange, change_record
from schemas.encoding import encode
from schemas.record import LogRecord
from schemas.topics import CHANGES, CONTROL_HEADER, DEADLETTERS, RULES, WEBHOOKS
from tests.processors.pipeline import TIMES, committing, group_of, job, settings_on

PARTITIONS = 2
START_MS = (round(time.time()) - 7_200) * 1000
"""Two hours ago, a full second."""
OWN_TIMES = {"message.timestamp.type": "CreateTime"}


@dataclass(slots=True)
class History:
    """Topics of one test."""

    kafka: KafkaSettings
    reader: LogReader
    producer: Producer
    raw: AIOKafkaProducer
    settings: Settings
    sent: int = 0
    pending: list[asyncio.Future[Any]] = field(default_factory=list)

    async def post(self, account: str, at_s: float, *elements: Any, message_id: str | None = None) -> None:
        """Append a webhook, `at_s` seconds after the start."""
        self.sent += 1
        body = {"messageId": message_id or f"m-{self.sent}", "timestamp": self.sent, "data": list(elements)}
        await self._append(account, at_s, json.dumps(body).encode())

    async def rules(self, account: str, at_s: float, **rule: Any) -> None:
        """Append a control record with rules."""
        resolved = {"default": {"quiet_ms": 300, "ceiling_ms": 900, **rule}, "types": {}}
        await self._append(account, at_s, json.dumps(resolved).encode(), (CONTROL_HEADER, b"rules"))

    async def tick(self, account: str, at_s: float) -> None:
        """Append a tick."""
        await self._append(account, at_s, b"", (CONTROL_HEADER, b"tick"))

    async def _append(self, account: str, at_s: float, value: bytes, *headers: tuple[str, bytes]) -> None:
        key = account.encode()
        self.pending.append(
            await self.raw.send(
                self.kafka.topic_prefix + WEBHOOKS.name,
                key=key,
                value=value,
                headers=list(headers),
                partition=partition_of(key, range(PARTITIONS)),
                timestamp_ms=START_MS + round(at_s * 1000),
            )
        )

    async def office(self, *accounts: str, seconds: int = 40) -> None:
        """Bursts about a few entities of every account, with repeats, changed rules and a silence."""
        for second in range(seconds):
            for number, account in enumerate(accounts):
                if second == seconds // 2:
                    await self.rules(account, second, ignore_users=[3])
                for burst in range(3):
                    at_s = second + burst * 0.2 + number * 0.01
                    await self.post(account, at_s, job(second % 4, userId=burst + 1), job(10 + burst))
                if second % 5 == 0:
                    await self.post(account, second + 0.7, job(second % 4), message_id=f"m-{self.sent}")
        for account in accounts:
            await self.tick(account, seconds + 60)

    async def live(self, limits: Mapping[int, int] | None = None) -> list[EntityChange]:
        """Do what processors do, up to the limits (by partition; default: all): send and commit."""
        await asyncio.gather(*self.pending)
        self.pending.clear()
        changes, positions = [], {}
        for partition in await self.partitions():
            records = await self.records(partition)
            stop = (limits or {}).get(partition.number, len(records))
            outcome = Consolidator(self.origin(partition), TIMES).feed(records[:stop])
            changes += outcome.changes
            positions[partition] = stop
            topic = self.kafka.topic_prefix + RULES.name
            await self.producer.send_all((topic, one.account.encode(), encode(one), ()) for one in outcome.rules)
        name = self.kafka.topic_prefix + CHANGES.name
        await self.producer.send_all((name, *change_record(change)) for change in changes)
        async with committing(self.kafka, group_of(self.kafka)) as commit:
            await commit(positions)
        return changes

    async def partitions(self) -> list[Partition]:
        return await self.reader.partitions(self.kafka.topic_prefix + WEBHOOKS.name)

    def origin(self, partition: Partition) -> Origin:
        return Origin(partition.topic, partition.number, self.kafka.log_epoch)

    async def records(self, partition: Partition) -> list[LogRecord]:
        start, stop = await self.reader.beginning(partition), await self.reader.end(partition)
        return [record async for batch in self.reader.read(partition, start, stop) for record in batch]

    async def all(self, name: str) -> list[LogRecord]:
        """Every record of a topic, partition after partition."""
        found: list[LogRecord] = []
        for partition in await self.reader.partitions(self.kafka.topic_prefix + name):
            found += await self.records(partition)
        return found


@asynccontextmanager
async def history_on(kafka: KafkaSettings) -> AsyncIterator[History]:
    """Topics with few partitions, the raw log's with its writers' times."""
    topics = [replace(WEBHOOKS, partitions=PARTITIONS, config=OWN_TIMES), replace(CHANGES, partitions=PARTITIONS)]
    await ensure_topics(kafka, [*topics, replace(DEADLETTERS, partitions=PARTITIONS), RULES])
    raw = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, linger_ms=5)
    async with (
        LogReader.open(kafka, client_id="test") as reader,
        Producer.open(kafka, client_id="test") as producer,
        raw,
    ):
        yield History(kafka, reader, producer, raw, settings_on(kafka))


def at(seconds: float) -> int:
    """Unix milliseconds of a moment of the history."""
    return START_MS + round(seconds * 1000)
