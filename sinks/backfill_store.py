"""The table `backfills`: how far each backfill has come, so that the same command goes on where it stopped."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, MetaData, String, Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime.database import database_now, transaction, upsert
from schemas.errors import StoreError
from sinks.backfill_plan import Wanted
from sinks.mirror_core import Snapshot
from sinks.mirror_row import Key, take_listed
from sinks.mirror_store import take_steps

METADATA = MetaData()

BACKFILLS = Table(
    "backfills",
    METADATA,
    Column("account", String(63), primary_key=True),
    Column("entity_type", String(200), primary_key=True),
    # As it was said: 7d is another time in every run, and the same backfill until it is finished.
    Column("since", String(64), primary_key=True),
    # Unix seconds: what it meant; when it began, and ended, by the database's clock. Unfinished: NULL.
    Column("since_at", BigInteger, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    # Whose it is: only the last that took it goes on.
    Column("run", String(32), nullable=False),
    # In pages of another size a page has another place in the list.
    Column("page_limit", BigInteger),
    Column("pages_read", BigInteger, nullable=False),
    # As ServiceTrade told last.
    Column("pages", BigInteger),
    Column("items_read", BigInteger, nullable=False),
    Column("rows_written", BigInteger, nullable=False),
)

ROWS_AT_ONCE = 200
"""Rows of a page in one transaction, so that a live mirror never waits for long."""
TRIES = 3
"""Of a transaction, where the store is busy for longer than it waits."""


class TakenOver(Exception):
    """The same backfill was started once more, and goes on there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the backfill of one type is: the columns of `backfills`."""

    account: str
    entity_type: str
    since: str
    since_at: int
    began_at: int
    finished_at: int | None
    run: str
    page_limit: int | None
    pages_read: int
    pages: int | None
    items_read: int
    rows_written: int


class BackfillStore:
    """Progress of backfills, and the pages that they read. StoreError.

    Args:
        engine: the store, with its tables.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @transaction
    async def begin(self, wanted: Wanted, *, restart: bool = False) -> list[Progress]:
        """Go on with this backfill if it is unfinished, and begin a new one if not; in the order of its types.

        Args:
            wanted: what was asked for.
            restart: begin a new one in any case.
        """
        async with self._engine.begin() as connection:
            now_s = (await connection.execute(select(database_now() // 1000))).scalar_one()
            found = {} if restart else await _found(connection, wanted)
            if all(progress.finished_at is not None for progress in found.values()):
                found = {}
            begun = [_going_on(found.get(name), wanted, name, now_s) for name in wanted.page_limits]
            columns = [field.name for field in fields(Progress)]
            for progress in begun:
                values = {name: getattr(progress, name) for name in columns}
                await connection.execute(upsert(connection, BACKFILLS, values, update=columns))
        return begun

    async def add(self, progress: Progress, rows: Sequence[tuple[Key, Snapshot]], **columns: int | None) -> Progress:
        """Write what a page holds, where nothing as new is there already, and then how far the backfill is.

        Args:
            progress: as it was before.
            rows: in the order of their keys, no two with one.
            columns: of `backfills`, to set at the end.

        Returns:
            As it is now.

        Raises:
            TakenOver: nothing more was written.
        """
        for start in range(0, max(1, len(rows)), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            last = start + ROWS_AT_ONCE >= len(rows)
            progress = await self._patiently(progress, some, columns if last else {})
        return progress

    async def finish(self, progress: Progress) -> Progress:
        """Nothing is left to do."""
        return await self._write(progress, [], {"finished_at": database_now() // 1000})

    async def _patiently(
        self, progress: Progress, rows: Sequence[tuple[Key, Snapshot]], columns: dict[str, Any]
    ) -> Progress:
        for _ in range(TRIES - 1):
            try:
                return await self._write(progress, rows, columns)
            except StoreError:
                continue
        return await self._write(progress, rows, columns)

    @transaction
    async def _write(
        self, progress: Progress, rows: Sequence[tuple[Key, Snapshot]], columns: dict[str, Any]
    ) -> Progress:
        async with self._engine.begin() as connection:
            written = await take_steps(connection, [(key, take_listed(snapshot)) for key, snapshot in rows])
            counted = {
                "items_read": progress.items_read + len(rows),
                "rows_written": progress.rows_written + sum(written),
            }
            change = update(BACKFILLS).where(*_is(progress)).values({**counted, **columns}).returning(*BACKFILLS.c)
            row = (await connection.execute(change)).mappings().one_or_none()
            if row is None:
                raise TakenOver
        return Progress(**row)


async def _found(connection: AsyncConnection, wanted: Wanted) -> dict[str, Progress]:
    query = select(BACKFILLS).where(
        BACKFILLS.c.account == wanted.account,
        BACKFILLS.c.since == wanted.since,
        BACKFILLS.c.entity_type.in_(wanted.page_limits),
    )
    rows = (await connection.execute(query.with_for_update())).mappings().all()
    return {row["entity_type"]: Progress(**row) for row in rows}


def _going_on(found: Progress | None, wanted: Wanted, entity_type: str, now_s: int) -> Progress:
    """What is unfinished goes on with the time that it meant then, and is this run's from now on."""
    page_limit = wanted.page_limits[entity_type]
    same_pages = found is not None and found.page_limit == page_limit
    return Progress(
        account=wanted.account,
        entity_type=entity_type,
        since=wanted.since,
        since_at=wanted.since_at if found is None else found.since_at,
        began_at=now_s if found is None else found.began_at,
        finished_at=None if found is None else found.finished_at,
        run=uuid.uuid4().hex,
        page_limit=page_limit,
        pages_read=found.pages_read if found is not None and same_pages else 0,
        pages=found.pages if found is not None and same_pages else None,
        items_read=0 if found is None else found.items_read,
        rows_written=0 if found is None else found.rows_written,
    )


def _is(progress: Progress) -> list[ColumnElement[bool]]:
    key = ("account", "entity_type", "since", "run")
    return [BACKFILLS.c[name] == getattr(progress, name) for name in key]
