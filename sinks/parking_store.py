"""The tables `parked`, what a sink has put aside, and `halts`, the sinks that wait for a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import ColumnElement

from runtime.database import database_now, reading, transaction, upsert
from schemas.encoding import decode, encode
from schemas.record import LogRecord

METADATA = MetaData()

PARKED = Table(
    "parked",
    METADATA,
    Column("sink", String(100), primary_key=True),
    # Where the record stands; rows go back to whoever owns the partition.
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("account", String(63), nullable=False),
    # What is delivered in order: account/type/id of a change.
    Column("key", String(300), nullable=False),
    # Whether it waits for the whole account, or for its entity alone.
    Column("whole_account", Boolean, nullable=False),
    Column("record_key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    # Of the record; both in Unix milliseconds.
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("parked_ms", BigInteger, nullable=False),
    Index("parked_by_place", "sink", "topic", "account", "whole_account", "key", "partition", "position"),
)

HALTS = Table(
    "halts",
    METADATA,
    Column("sink", String(100), primary_key=True),
    Column("reason", Text, nullable=False),
    # Unix milliseconds, the database's.
    Column("since_ms", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is put aside together: an account, or one key of it."""

    account: str
    key: str | None = None
    """None: all of the account that has no place of its own."""

    @property
    def name(self) -> str:
        """`account`, or `account/type/id`."""
        return self.account if self.key is None else self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltedSink:
    """A sink that waits for a person."""

    sink: str
    reason: str
    since_ms: int


class ParkingStore:
    """One sink's rows. Every method is one transaction."""

    def __init__(self, engine: AsyncEngine, sink: str, topic: str) -> None:
        self._engine = engine
        self._sink = sink
        self._topic = topic

    @transaction
    async def put(self, records: Sequence[tuple[Place, str, LogRecord]]) -> None:
        """Put records aside, each with its place and its key; those that are there already stay as they are."""
        async with self._engine.begin() as connection:
            rows = [
                {
                    "sink": self._sink,
                    "topic": record.topic,
                    "partition": record.partition,
                    "position": record.offset,
                    "account": place.account,
                    "key": key,
                    "whole_account": place.key is None,
                    "record_key": record.key,
                    "value": record.value,
                    "headers": _headers_text(record),
                    "timestamp_ms": record.timestamp,
                }
                for place, key, record in records
            ]
            # The first row stands for all: what is bound is the same, and the driver takes the rest in one go.
            statement = upsert(connection, PARKED, {**rows[0], "parked_ms": database_now()})
            await connection.execute(statement, rows)

    @transaction
    async def places(self, partitions: Collection[int]) -> list[Place]:
        """All places that have rows of these partitions."""
        query = (
            select(PARKED.c.account, PARKED.c.key, PARKED.c.whole_account)
            .where(*self._in(partitions), PARKED.c.whole_account.is_(False))
            .distinct()
        )
        accounts = select(PARKED.c.account).where(*self._in(partitions), PARKED.c.whole_account.is_(True)).distinct()
        async with reading(self._engine).begin() as connection:
            found = [Place(account=row.account) for row in await connection.execute(accounts)]
            found += [Place(account=row.account, key=row.key) for row in await connection.execute(query)]
        return found

    @transaction
    async def first(self, place: Place, partitions: Collection[int], at_most: int) -> list[LogRecord]:
        """The place's oldest records, each partition's in order."""
        query = (
            select(PARKED)
            .where(*self._in(partitions), *_of(place))
            .order_by(PARKED.c.partition, PARKED.c.position)
            .limit(at_most)
        )
        async with reading(self._engine).begin() as connection:
            return [_record(row) for row in await connection.execute(query)]

    @transaction
    async def remove(self, records: Sequence[LogRecord]) -> None:
        """They have an outcome."""
        keys = [(record.partition, record.offset) for record in records]
        async with self._engine.begin() as connection:
            await connection.execute(
                delete(PARKED).where(
                    PARKED.c.sink == self._sink,
                    PARKED.c.topic == self._topic,
                    tuple_(PARKED.c.partition, PARKED.c.position).in_(keys),
                )
            )

    @transaction
    async def narrow(self, place: Place, partitions: Collection[int]) -> None:
        """From now on the records of this key have a place of their own."""
        statement = (
            update(PARKED)
            .where(*self._in(partitions), PARKED.c.account == place.account, PARKED.c.key == place.key)
            .values(whole_account=False)
        )
        async with self._engine.begin() as connection:
            await connection.execute(statement)

    @transaction
    async def counts(self, partitions: Collection[int]) -> Mapping[str, int]:
        """How many records each account has put aside."""
        query = (
            select(PARKED.c.account, func.count().label("records"))
            .where(*self._in(partitions))
            .group_by(PARKED.c.account)
        )
        async with reading(self._engine).begin() as connection:
            return {row.account: row.records for row in await connection.execute(query)}

    def _in(self, partitions: Collection[int]) -> list[ColumnElement[bool]]:
        return [
            PARKED.c.sink == self._sink,
            PARKED.c.topic == self._topic,
            PARKED.c.partition.in_(sorted(partitions)),
        ]


class Halts:
    """The sinks that wait for a person. Every method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @transaction
    async def halt(self, sink: str, reason: str) -> None:
        """The sink stops; the first reason stands."""
        async with self._engine.begin() as connection:
            values = {"sink": sink, "reason": reason, "since_ms": database_now()}
            await connection.execute(upsert(connection, HALTS, values))

    @transaction
    async def of(self, sink: str) -> str | None:
        """Why the sink waits; None: it does not."""
        async with reading(self._engine).begin() as connection:
            row = (await connection.execute(select(HALTS.c.reason).where(HALTS.c.sink == sink))).one_or_none()
        return None if row is None else str(row.reason)

    @transaction
    async def resume(self, sink: str) -> bool:
        """It may go on; False: it was not halted."""
        async with self._engine.begin() as connection:
            return bool((await connection.execute(delete(HALTS).where(HALTS.c.sink == sink))).rowcount)

    @transaction
    async def all(self) -> list[HaltedSink]:
        """Every halted sink."""
        async with reading(self._engine).begin() as connection:
            rows = await connection.execute(select(HALTS).order_by(HALTS.c.sink))
            return [HaltedSink(sink=row.sink, reason=row.reason, since_ms=row.since_ms) for row in rows]


@transaction
async def parked_by_sink(engine: AsyncEngine) -> dict[str, dict[str, int]]:
    """How many records are put aside, by sink and account."""
    query = select(PARKED.c.sink, PARKED.c.account, func.count().label("records")).group_by(
        PARKED.c.sink, PARKED.c.account
    )
    found: dict[str, dict[str, int]] = {}
    async with reading(engine).begin() as connection:
        for row in await connection.execute(query):
            found.setdefault(row.sink, {})[row.account] = row.records
    return found


def _of(place: Place) -> list[ColumnElement[bool]]:
    if place.key is None:
        return [PARKED.c.account == place.account, PARKED.c.whole_account.is_(True)]
    return [PARKED.c.account == place.account, PARKED.c.key == place.key, PARKED.c.whole_account.is_(False)]


def _headers_text(record: LogRecord) -> str:
    return encode([[name, None if value is None else value.hex()] for name, value in record.headers]).decode()


def _record(row: Row[Any]) -> LogRecord:
    headers: Any = (
        (name, None if value is None else bytes.fromhex(value)) for name, value in decode(row.headers.encode())
    )
    return LogRecord(
        topic=row.topic,
        partition=row.partition,
        offset=row.position,
        timestamp=row.timestamp_ms,
        key=row.record_key,
        value=row.value,
        headers=tuple(headers),
    )
