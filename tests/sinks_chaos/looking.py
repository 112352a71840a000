"""Looks at what the sinks have done: rows and parked changes in the store, offsets and dead letters in Kafka."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from runtime.database import Database, open_database, reading
from runtime.kafka import LogReader
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings, StoreSettings
from schemas.deadletter import read_dead_letter
from schemas.record import header
from schemas.topics import CHANGES, DEADLETTERS, RESOLUTION_HEADER
from tests.sinks_chaos.ledger import Entity
from tests.sinks_chaos.verdict import Letter, Row

GROUPS = "tradewind-"


class Shelf:
    """The store, as a person looks at it: by SQL."""

    def __init__(self, database: Database) -> None:
        self._database = reading(database)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: StoreSettings) -> AsyncIterator[Shelf]:
        """Connect; a table that nobody has made yet is an empty one."""
        async with open_database(settings) as database:
            yield cls(database)

    async def rows(self) -> dict[Entity, Row]:
        """All rows of `entities`."""
        found = await self._all("SELECT account, entity_type, entity_id, data, deleted_at FROM entities")
        return {
            (account, entity_type, str(entity_id)): Row(data=_decoded(data), deleted=deleted_at is not None)
            for account, entity_type, entity_id, data, deleted_at in found
        }

    async def parked(self) -> dict[tuple[str, str], int]:
        """How many changes are parked, by sink and account."""
        found = await self._all("SELECT sink, account, count(*) FROM parked GROUP BY sink, account")
        return {(sink, account): count for sink, account, count in found}

    async def _all(self, statement: str) -> list[Any]:
        try:
            async with self._database.connect() as connection:
                return list((await connection.execute(text(statement))).all())
        except (OperationalError, ProgrammingError) as error:
            if "no such table" in str(error) or "does not exist" in str(error):
                return []
            raise


def _decoded(data: Any) -> Any:
    return json.loads(data) if isinstance(data, str | bytes) else data


async def lag(kafka: KafkaSettings, group: str) -> int:
    """How many records of servicetrade.changes the group has not committed."""
    committed = {(part.topic, part.number): offset for part, offset in (await committed_offsets(kafka, group)).items()}
    async with LogReader.open(kafka, client_id="sinks-chaos-lag") as reader:
        ends = await reader.ends(await reader.partitions(CHANGES.name))
    return sum(end - committed.get((part.topic, part.number), 0) for part, end in ends.items())


async def committed(kafka: KafkaSettings, group: str) -> Mapping[tuple[str, int], int]:
    """What the group has committed, by topic and partition."""
    return {(part.topic, part.number): offset for part, offset in (await committed_offsets(kafka, group)).items()}


async def dead_letters(kafka: KafkaSettings) -> list[Letter]:
    """Everything that stands in servicetrade.deadletters.

    Raises:
        ValueError: a record there does not say where it comes from.
    """
    letters: list[Letter] = []
    async with LogReader.open(kafka, client_id="sinks-chaos-letters") as reader:
        for partition in await reader.partitions(DEADLETTERS.name):
            start, stop = await reader.beginning(partition), await reader.end(partition)
            async for batch in reader.read(partition, start, stop):
                for record in batch:
                    if header(record, RESOLUTION_HEADER) is not None:
                        raise ValueError(f"a person's resolution at {partition}, offset {record.offset}")
                    why = read_dead_letter(record.headers)
                    letters.append(
                        Letter(
                            stage=why.stage,
                            place=(why.topic, why.partition, why.offset),
                            original=(record.key, record.value or b""),
                            told=f"{why.error}: {why.message}",
                        )
                    )
    return letters
