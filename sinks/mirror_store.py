"""The table `entities`: a copy of every entity that changed, with what is needed to never write an older state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Row, String, Table, Text, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import ColumnElement

from runtime.database import create_tables, database_now, reading, transaction, upsert
from schemas.change import EntityChange
from sinks.mirror_core import Snapshot, Version, wins

METADATA = MetaData()

ENTITIES = Table(
    "entities",
    METADATA,
    Column("account", String(63), primary_key=True),
    Column("entity_type", String(200), primary_key=True),
    Column("entity_id", String(19), primary_key=True),
    # JSON as ServiceTrade answered; stays when the entity is deleted. NULL: never read yet, or deleted before that.
    Column("data", Text),
    Column("name", Text),
    Column("status", Text),
    # Unix seconds, ServiceTrade's.
    Column("created_at", BigInteger),
    Column("updated_at", BigInteger),
    # Unix seconds: ServiceTrade's where it told of the deletion, the database's where a read found nothing.
    Column("deleted_at", BigInteger),
    # The change with the highest sequence that has had its effect: what comes again has none.
    Column("last_sequence", String(200), nullable=False, server_default=""),
    Column("last_change_id", String(200)),
    # The last ticket that was given out, and the one of the read in this row.
    Column("ticket", BigInteger, nullable=False, server_default="0"),
    Column("written_ticket", BigInteger, nullable=False, server_default="0"),
    # Unix seconds, the database's. NULL: only tickets were given out so far, there is nothing to see.
    Column("mirrored_at", BigInteger),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Leave to read the entity and write what is found."""

    ticket: int
    last_sequence: str
    """What the row remembered when the ticket was given out; empty for nothing."""


class MirrorStore:
    """Every method is one transaction, and safe to call from any number of processes.

    Sequences are compared as texts; they are digits and dashes of one width, which sort alike in every collation.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create_tables(self) -> None:
        """Create the table if it does not exist; several processes may do so at the same time."""
        await create_tables(self._engine, METADATA)

    @transaction
    async def begin_read(self, change: EntityChange) -> Reading | None:
        """Take a ticket, before the GET; None if the change has had its effect, and nothing was done."""
        take = (
            update(ENTITIES)
            .where(*_is(change), ENTITIES.c.last_sequence < change.sequence)
            .values(ticket=ENTITIES.c.ticket + 1)
            .returning(ENTITIES.c.ticket, ENTITIES.c.last_sequence)
        )
        async with self._engine.begin() as connection:
            row = (await connection.execute(take)).one_or_none()
            if row is None:  # seen, or there is no row yet
                await connection.execute(upsert(connection, ENTITIES, _key(change)))
                row = (await connection.execute(take)).one_or_none()
        return None if row is None else Reading(ticket=row.ticket, last_sequence=row.last_sequence)

    @transaction
    async def write(self, change: EntityChange, ticket: int, snapshot: Snapshot) -> bool:
        """Write what a read found, and that the change has had its effect.

        Returns:
            False if the row holds a newer read: only the change was noted.
        """
        async with self._engine.begin() as connection:
            row = await _locked(connection, change)
            version = Version(
                updated_at=row.updated_at, written_ticket=row.written_ticket, deleted=row.deleted_at is not None
            )
            won = wins(version, snapshot, ticket)
            values: dict[str, Any] = {}
            if won:
                values = {
                    "data": snapshot.data,
                    "name": snapshot.name,
                    "status": snapshot.status,
                    "created_at": snapshot.created_at,
                    "updated_at": snapshot.updated_at,
                    "deleted_at": None,
                    "written_ticket": ticket,
                    "mirrored_at": _now_s(),
                }
            await _write(connection, row, change, values)
        return won

    @transaction
    async def mark_deleted(self, change: EntityChange, *, at: int | None) -> str:
        """Mark the entity deleted and keep its last data; again for a marked one changes nothing but the sequence.

        Reads that have begun before this can no longer write.

        Args:
            change: a deletion, or the change for which a read found nothing. One that had its effect already, and
                tells of a deletion, has none again.
            at: when, Unix seconds; None: found now.

        Returns:
            The sequence that the row remembered before; empty for nothing.
        """
        async with self._engine.begin() as connection:
            await connection.execute(upsert(connection, ENTITIES, _key(change)))
            row = await _locked(connection, change)
            # What a read found is news whatever the row remembers; what a change tells is not, if it came before.
            if at is None or row.last_sequence < change.sequence:
                values = {"written_ticket": row.ticket, "mirrored_at": _now_s()}
                if row.deleted_at is None:
                    values["deleted_at"] = _now_s() if at is None else at
                await _write(connection, row, change, values)
        return str(row.last_sequence)

    @transaction
    async def read(self, account: str, entity_type: str, entity_id: str) -> Row[Any] | None:
        """The entity's row, or None."""
        key = (account, entity_type, entity_id)
        query = select(ENTITIES).where(
            *(column == value for column, value in zip(ENTITIES.primary_key.columns, key, strict=True))
        )
        async with reading(self._engine).begin() as connection:
            return (await connection.execute(query)).one_or_none()

    @transaction
    async def rows(self) -> list[Row[Any]]:
        """Every row of an entity that was read or is known to be deleted."""
        query = select(ENTITIES).where(ENTITIES.c.mirrored_at.is_not(None))
        async with reading(self._engine).begin() as connection:
            return list((await connection.execute(query)).all())


def _key(change: EntityChange) -> dict[str, str]:
    return {"account": change.account, "entity_type": change.entity_type, "entity_id": change.entity_id}


def _is(change: EntityChange) -> list[ColumnElement[bool]]:
    return [ENTITIES.c[name] == value for name, value in _key(change).items()]


def _now_s() -> ColumnElement[int]:
    return database_now() // 1000


async def _locked(connection: AsyncConnection, change: EntityChange) -> Row[Any]:
    # SQLite has no FOR UPDATE and needs none: the transaction began with the right to write.
    return (await connection.execute(select(ENTITIES).where(*_is(change)).with_for_update())).one()


async def _write(connection: AsyncConnection, row: Row[Any], change: EntityChange, values: dict[str, Any]) -> None:
    """Write the values, and note the change unless a later one is noted: the row and its memory change as one."""
    if row.last_sequence < change.sequence:
        values |= {"last_sequence": change.sequence, "last_change_id": change.id}
    if values:
        await connection.execute(update(ENTITIES).where(*_is(change)).values(values))
