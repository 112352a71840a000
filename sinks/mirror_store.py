"""The table `entities`: a copy of every entity that changed, with what is needed to never write an older state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    Index,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    false,
    or_,
    select,
    update,
)
from sqlalchemy import Row as FoundRow
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeDecorator, TypeEngine

from runtime.database import database_now, reading, transaction, upsert
from schemas.change import EntityChange
from schemas.encoding import encode
from sinks import mirror_row
from sinks.group_commit import GroupCommit
from sinks.mirror_core import Snapshot
from sinks.mirror_row import REMEMBERED, Key, Reading, Row, Step, key_of

T = TypeVar("T")


class JsonText(TypeDecorator[str]):
    """JSON that is text in Python, JSONB in PostgreSQL and text in SQLite, whose JSON functions take it."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """JSONB where there is one."""
        return dialect.type_descriptor(postgresql.JSONB() if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> None:
        """It is JSON already: neither SQLAlchemy nor the driver encodes it."""

    def result_processor(
        self,
        dialect: Dialect,
        coltype: object,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> Callable[[Any], str | None] | None:
        """SQLAlchemy has asyncpg decode JSONB, so it is encoded again."""
        return _as_text if dialect.name == "postgresql" else None


def _as_text(value: Any) -> str | None:
    return None if value is None else encode(value).decode()


METADATA = MetaData()

ENTITIES = Table(
    "entities",
    METADATA,
    Column("account", String(63), primary_key=True),
    Column("entity_type", String(200), primary_key=True),
    Column("entity_id", String(19), primary_key=True),
    # As ServiceTrade answered; stays when the entity is deleted. NULL: never read yet, or deleted before that.
    Column("data", JsonText),
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
    # The last ticket that was given out, and the one of the read in this row; 0: it was in a list.
    Column("ticket", BigInteger, nullable=False, server_default="0"),
    Column("written_ticket", BigInteger, nullable=False, server_default="0"),
    # Unix seconds, the database's. NULL: only tickets were given out so far, there is nothing to see.
    Column("mirrored_at", BigInteger),
    # For people: all scheduled jobs of an account; what was updated since yesterday.
    Index("entities_by_status", "account", "entity_type", "status"),
    Index("entities_by_updated_at", "account", "entity_type", "updated_at"),
)

_KEY = list(ENTITIES.primary_key.columns)


class MirrorStore:
    """The rows of the mirror; every method is atomic, and safe to call from any number of processes. StoreError.

    What is called at the same time is committed together, see `sinks.group_commit`. Sequences are compared as texts;
    they are digits and dashes of one width.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._group: GroupCommit[tuple[Key, Step[Any]]] = GroupCommit(engine, take_steps)

    async def begin_read(self, change: EntityChange, *, again: bool = False) -> Reading | None:
        """Take a ticket, before the GET; None if the change has had its effect, and nothing was done.

        Args:
            change: what asks for the read.
            again: take one in any case.
        """
        return await self._step(change, mirror_row.take_ticket(change, again=again))

    async def write(self, change: EntityChange, ticket: int, snapshot: Snapshot) -> bool:
        """Write what a read found, and that the change has had its effect.

        Returns:
            False if the row holds a newer read: only the change was noted.
        """
        return await self._step(change, mirror_row.write(change, ticket, snapshot))

    async def mark_deleted(self, change: EntityChange, *, at: int | None, again: bool = False) -> str:
        """Mark the entity deleted and keep its last data; again for a marked one changes nothing but the sequence.

        Reads that have begun before this can no longer write.

        Args:
            change: a deletion, or the change for which a read found nothing. One that had its effect already, and
                tells of a deletion, has none again.
            at: when, Unix seconds; None: found now.
            again: it has its effect once more.

        Returns:
            The sequence that the row remembered before; empty for nothing.
        """
        return await self._step(change, mirror_row.mark_deleted(change, at=at, again=again))

    async def note(self, change: EntityChange) -> str | None:
        """The change has had its effect, by a read that began after it had been appended.

        Returns:
            The sequence that the row remembered before; None if it holds no read, and nothing was done.
        """
        return await self._step(change, mirror_row.note(change))

    @transaction
    async def read(self, account: str, entity_type: str, entity_id: str) -> FoundRow[Any] | None:
        """The entity's row, or None."""
        async with reading(self._engine).begin() as connection:
            query = select(ENTITIES).where(_among([(account, entity_type, entity_id)]))
            return (await connection.execute(query)).one_or_none()

    @transaction
    async def rows(self) -> list[FoundRow[Any]]:
        """Every row of an entity that was read or is known to be deleted."""
        query = select(ENTITIES).where(ENTITIES.c.mirrored_at.is_not(None))
        async with reading(self._engine).begin() as connection:
            return list((await connection.execute(query)).all())

    @transaction
    async def _step(self, change: EntityChange, step: Step[T]) -> T:
        found: T = await self._group.run((key_of(change), step))
        return found


async def take_steps(connection: AsyncConnection, steps: Sequence[tuple[Key, Step[Any]]]) -> list[Any]:
    """Take steps on rows, in this order, within a transaction; rows that are not there are made.

    A handful of statements, however many steps. Rows are locked in the order of their keys.

    Returns:
        The result of each step.
    """
    if not steps:
        return []
    rows, now_s = await _locked(connection, sorted({key for key, _ in steps}))
    written: defaultdict[Key, dict[str, Any]] = defaultdict(dict)
    results: list[Any] = []
    for key, step in steps:
        values, result = step(rows[key], now_s)
        rows[key] = rows[key].after(values)
        written[key] |= values
        results.append(result)
    await _write(connection, written)
    return results


async def _locked(connection: AsyncConnection, keys: Sequence[Key]) -> tuple[dict[Key, Row], int]:
    """Lock the rows; what they remember, and the database's time.

    All that are missing are made first, also where none is: two transactions that make and lock rows by turns could
    wait for each other.
    """
    names = [_named(key) for key in keys]
    await connection.execute(upsert(connection, ENTITIES, names[0]), names)
    # SQLite has no FOR UPDATE and needs none: the transaction began with the right to write.
    now_s = (database_now() // 1000).label("now_s")
    query = select(*_KEY, *(ENTITIES.c[name] for name in REMEMBERED), now_s).where(_among(keys))
    found = (await connection.execute(query.order_by(*_KEY).with_for_update())).all()
    rows = {(row[0], row[1], row[2]): Row(**dict(zip(REMEMBERED, row[3:-1], strict=True))) for row in found}
    return rows, found[0].now_s


def _among(keys: Iterable[Key]) -> ColumnElement[bool]:
    """The rows with these keys, so that SQLite finds them by its index: it does not for (a, b, c) IN (...)."""
    ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for account, entity_type, entity_id in keys:
        ids[account, entity_type].append(entity_id)
    return or_(
        false(),
        *(
            and_(ENTITIES.c.account == account, ENTITIES.c.entity_type == entity_type, ENTITIES.c.entity_id.in_(some))
            for (account, entity_type), some in ids.items()
        ),
    )


async def _write(connection: AsyncConnection, written: dict[Key, dict[str, Any]]) -> None:
    """One statement for all rows that get the same columns."""
    shapes: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for key, values in sorted(written.items()):
        if values:
            shapes[tuple(sorted(values))].append({**_named(key, "the_"), **values})
    for names, rows in shapes.items():
        this = [column == bindparam(f"the_{column.name}") for column in _KEY]
        statement = update(ENTITIES).where(*this).values({name: bindparam(name) for name in names})
        await connection.execute(statement, rows)


def _named(key: Key, prefix: str = "") -> dict[str, str]:
    return {prefix + column.name: value for column, value in zip(_KEY, key, strict=True)}
