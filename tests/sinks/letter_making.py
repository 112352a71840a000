"""Dead letters made by hand, as the processors and the sinks write them, and the topics that they stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from runtime.kafka import LogReader, Producer, acknowledged
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.deadletter import DeadLetter, Resolution
from schemas.record import LogRecord
from schemas.topics import CHANGES, COMMANDS, DEADLETTERS, WEBHOOKS, Topic
from sinks.letters import LetterId

PARTITIONS = 2


def reason(**changed: Any) -> DeadLetter:
    """Why the mirror gave up a change, unless something else is said."""
    letter = DeadLetter(
        topic="servicetrade.changes",
        partition=3,
        offset=55,
        stage="mirror",
        error="Reject",
        message="no permission",
        attempts=2,
        first_failure_ms=1_700_000_000_000,
        last_failure_ms=1_700_000_060_000,
    )
    return replace(letter, **changed)


def letter_record(
    letter: DeadLetter,
    *,
    key: bytes | None = b"acme/job/1",
    value: bytes | None = b"{}",
    headers: Sequence[tuple[str, Any]] = (),
    **place: int,
) -> LogRecord:
    """The letter in a record of servicetrade.deadletters."""
    where: dict[str, Any] = {"partition": 1, "offset": 0, "timestamp": letter.last_failure_ms, **place}
    return LogRecord(key=key, value=value, headers=(*headers, *letter.headers()), **where)


def resolution_record(what: str, of: int, **place: int) -> LogRecord:
    where: dict[str, Any] = {"partition": 1, "offset": 0, "timestamp": 1_700_000_090_000, **place}
    return LogRecord(key=b"k", value=b"", headers=tuple(Resolution(what=what, offset=of).headers()), **where)


@dataclass(slots=True)
class Office:
    """The topics of one test, each with two partitions."""

    kafka: KafkaSettings
    producer: Producer
    reader: LogReader

    def name(self, topic: Topic) -> str:
        return self.kafka.topic_prefix + topic.name

    async def bury(
        self,
        *,
        of: Topic = CHANGES,
        key: bytes | None = b"acme/job/1",
        value: bytes = b"{}",
        headers: Sequence[tuple[str, bytes]] = (),
        **changed: Any,
    ) -> LetterId:
        """Write a letter as those who give up do; returns where it stands."""
        letter = reason(topic=self.name(of), **changed)
        sent = await self.producer.send(
            self.name(DEADLETTERS), key=key, value=value, headers=[*headers, *letter.headers()]
        )
        position = await acknowledged(sent)
        return LetterId(position.partition.number, position.offset)

    async def records(self, topic: Topic) -> list[LogRecord]:
        found: list[LogRecord] = []
        for partition in await self.reader.partitions(self.name(topic)):
            start, stop = await self.reader.beginning(partition), await self.reader.end(partition)
            async for batch in self.reader.read(partition, start, stop):
                found += batch
        return found


@asynccontextmanager
async def open_office(kafka: KafkaSettings) -> AsyncIterator[Office]:
    topics = [replace(topic, partitions=PARTITIONS) for topic in (WEBHOOKS, CHANGES, COMMANDS, DEADLETTERS)]
    await ensure_topics(kafka, topics)
    async with Producer.open(kafka, client_id="test") as producer, LogReader.open(kafka, client_id="test") as reader:
        yield Office(kafka, producer, reader)
