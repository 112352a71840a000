"""The table `delivered`: the last change of every entity that a sink has acted on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Column, MetaData, String, Table, and_, bindparam, column, select, values
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime.database import reading, transaction, upsert
from schemas.change import EntityChange
from sinks.group_commit import GroupCommit

METADATA = MetaData()

DELIVERED = Table(
    "delivered",
    METADATA,
    Column("sink", String(80), primary_key=True),
    Column("account", String(63), primary_key=True),
    Column("entity_type", String(200), primary_key=True),
    Column("entity_id", String(19), primary_key=True),
    # The change with the highest sequence that has had its effect; both never go back.
    Column("last_sequence", String(200), nullable=False),
    Column("last_change_id", String(200), nullable=False),
)

Key = tuple[str, str, str, str]
"""Sink, account, entity type, entity id."""
Entry = tuple[str, str, str, str, str, str]
"""A row: the key, then sequence and id of the change."""


class MemoryStore:
    """Safe to call from any number of processes. What is asked for at the same time is one transaction.

    Nothing is kept in memory: a partition may come back from another process that has gone on meanwhile.
    Sequences are compared as texts; they are digits and dashes of one width, which sort alike in every collation.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reads: GroupCommit[Key] = GroupCommit(reading(engine), _select)
        self._writes: GroupCommit[Entry] = GroupCommit(engine, _upsert)

    @transaction
    async def last_sequence(self, sink: str, change: EntityChange) -> str:
        """The highest sequence of the change's entity that was remembered for this sink; empty for none.

        Raises:
            StoreError: the database did not say.
        """
        found: str = await self._reads.run(_key(sink, change))
        return found

    @transaction
    async def remember(self, sink: str, change: EntityChange) -> None:
        """Note durably that the change has had its effect, unless a later one of its entity is noted.

        Raises:
            StoreError: the database did not do it.
        """
        await self._writes.run((*_key(sink, change), change.sequence, change.id))


def _key(sink: str, change: EntityChange) -> Key:
    return sink, change.account, change.entity_type, change.entity_id


async def _select(connection: AsyncConnection, keys: Sequence[Key]) -> list[str]:
    columns = list(DELIVERED.primary_key.columns)
    # A join, because SQLite reads the whole table for `(sink, account, …) IN (VALUES …)`.
    wanted = values(*(column(one.name, one.type) for one in columns), name="wanted").data(list(keys)).cte()
    same = and_(*(one == wanted.c[one.name] for one in columns))
    query = select(*columns, DELIVERED.c.last_sequence).join(wanted, same)
    found = {tuple(key): last for *key, last in await connection.execute(query)}
    return [found.get(key, "") for key in keys]


async def _upsert(connection: AsyncConnection, entries: Sequence[Entry]) -> list[None]:
    names = [column.name for column in DELIVERED.columns]
    statement = upsert(
        connection,
        DELIVERED,
        {name: bindparam(f"new_{name}") for name in names},
        update=("last_sequence", "last_change_id"),
        where=lambda new: DELIVERED.c.last_sequence < new["last_sequence"],
    )
    # Two processes that lock the same rows in different orders would wait for each other for ever.
    rows = [dict(zip((f"new_{name}" for name in names), entry, strict=True)) for entry in sorted(entries)]
    await connection.execute(statement, rows)
    return [None] * len(entries)
