"""The table `open_dead_letters`: how many dead letters of each account at a sink nobody has dealt with yet."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import ColumnElement

from runtime.database import database_now, reading, transaction, upsert
from schemas.record import LogRecord
from sinks.letters import Original

METADATA = MetaData()

OPEN_DEAD_LETTERS = Table(
    "open_dead_letters",
    METADATA,
    Column("sink", String(100), primary_key=True),
    # Where the record stands that the letter is about, not the letter.
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    # Empty where the record names none.
    Column("account", String(63), nullable=False),
    # Unix milliseconds, the database's.
    Column("at_ms", BigInteger, nullable=False),
    # Whether the letter is in Kafka for certain.
    Column("written", Boolean, nullable=False),
)

_KEY = ("sink", "topic", "partition", "position")


class OpenLetters:
    """Every method is one transaction, and safe to call from any number of processes.

    A row is written before its letter is sent, so a letter that is in Kafka counts. What a worker that died in between
    leaves is a row without a letter, until the record is given up again, for good or not at all.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @transaction
    async def add(self, sink: str, account: str, record: LogRecord) -> bool:
        """Note that the sink gives the record up; for one that is noted this changes nothing.

        Returns:
            Whether its letter is in Kafka already, so that no other has to be sent.
        """
        values = {
            "sink": sink,
            "topic": record.topic,
            "partition": record.partition,
            "position": record.offset,
            "account": account,
            "at_ms": database_now(),
            "written": False,
        }
        async with self._engine.begin() as connection:
            await connection.execute(upsert(connection, OPEN_DEAD_LETTERS, values))
            query = select(OPEN_DEAD_LETTERS.c.written).where(*_is(sink, record))
            return bool((await connection.execute(query)).scalar_one())

    @transaction
    async def written(self, sink: str, record: LogRecord) -> None:
        """Note that the letter is in Kafka; nothing happens if somebody has dealt with it meanwhile."""
        async with self._engine.begin() as connection:
            await connection.execute(update(OPEN_DEAD_LETTERS).where(*_is(sink, record)).values(written=True))

    @transaction
    async def counts(self, sink: str, *, newer_than_ms: int) -> dict[str, int]:
        """How many of the sink's letters nobody has dealt with, by account.

        Args:
            sink: its name.
            newer_than_ms: Unix milliseconds; letters that were written before do not count: retention has removed them.
        """
        table = OPEN_DEAD_LETTERS.c
        query = (
            select(table.account, func.count().label("letters"))
            .where(table.sink == sink, table.at_ms > newer_than_ms)
            .group_by(table.account)
        )
        async with reading(self._engine).begin() as connection:
            return {row.account: row.letters for row in await connection.execute(query)}

    async def remove(self, sink: str, topic: str, partition: int, position: int) -> None:
        """Forget one letter: somebody has dealt with it. Nothing happens if it is not noted."""
        await self.remove_all([Original(sink, topic, partition, position)])

    @transaction
    async def remove_all(self, originals: Sequence[Original]) -> None:
        """Forget letters, as `remove` does."""
        if not originals:
            return
        statement = delete(OPEN_DEAD_LETTERS).where(
            *(OPEN_DEAD_LETTERS.c[name] == bindparam(f"its_{name}") for name in _KEY)
        )
        # In one order, so that two who forget the same letters do not wait for each other.
        rows = [{f"its_{name}": getattr(original, name) for name in _KEY} for original in sorted(originals)]
        async with self._engine.begin() as connection:
            await connection.execute(statement, rows)


def _is(sink: str, record: LogRecord) -> list[ColumnElement[bool]]:
    values = (sink, record.topic, record.partition, record.offset)
    return [OPEN_DEAD_LETTERS.c[name] == value for name, value in zip(_KEY, values, strict=True)]
