"""Opens the SQL store, SQLite or PostgreSQL, so that the same SQLAlchemy Core code is right on both."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import asyncpg
from sqlalchemy import URL, BigInteger, Connection, MetaData, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnCollection, ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from runtime.settings import StoreSettings
from schemas.errors import SettingsError, StoreError

Database = AsyncEngine
"""The open store, for those who only pass it on."""

BUSY_TIMEOUT_MS = 10_000
"""How long a statement waits for another process's SQLite write transaction before it fails."""

CONNECT_S = 10.0
COMMAND_S = 30.0
"""How long PostgreSQL may take to answer."""

P = ParamSpec("P")
T = TypeVar("T")

_FAILURES = (SQLAlchemyError, sqlite3.Error, asyncpg.PostgresError, OSError)
_READ_ONLY = "tradewind_read_only"
_EVERYBODY = 0o007  # what the mode of an existing file must not have; a group may be its owner's wish
TABLES_LOCK = 0x74726164
"""An arbitrary number that all processes agree on: who holds this advisory lock may change tables."""


class _DatabaseNow(FunctionElement[int]):
    """What `database_now` renders in each dialect."""

    type = BigInteger()
    inherit_cache = True


@compiles(_DatabaseNow, "sqlite")
def _now_in_sqlite(_element: _DatabaseNow, _compiler: Any, **_options: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42; a julian day resolves 0.05 ms.
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(_DatabaseNow, "postgresql")
def _now_in_postgresql(_element: _DatabaseNow, _compiler: Any, **_options: Any) -> str:
    # now() stands still inside a transaction, also while it waits for a row's lock.
    return "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)"


def database_now() -> ColumnElement[int]:
    """The database's own clock, in milliseconds since the epoch, for use inside a statement.

    On SQLite it stands still within one statement; on PostgreSQL it moves even there.
    """
    return _DatabaseNow()


@asynccontextmanager
async def open_database(settings: StoreSettings, *, create: bool = True) -> AsyncIterator[AsyncEngine]:
    """The engine of the store; its connections are closed on leaving.

    `engine.begin()` opens a write transaction (on SQLite BEGIN IMMEDIATE, so that it waits for its turn at the
    start and cannot fail halfway); `reading(engine)` one that only reads. A commit that returned survives a
    power loss on both databases. A new SQLite file and its -wal and -shm are readable by their owner only.

    Args:
        settings: where it is.
        create: make an SQLite file that does not exist.

    Raises:
        SettingsError: the URL is no SQLAlchemy URL, or names another driver than aiosqlite and asyncpg.
        StoreError: no connection can be made.
    """
    try:
        url = make_url(settings.url)
    except ArgumentError as error:
        raise SettingsError("store.url: not a SQLAlchemy URL") from error
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = _open_sqlite(url, create=create) if is_sqlite else _open_postgresql(url, settings)
    try:
        await _try_out(engine)
        yield engine
    finally:
        await engine.dispose()


async def _try_out(engine: AsyncEngine) -> None:
    """Now rather than in the middle of the work, and as one sentence."""
    try:
        if engine.dialect.name == "sqlite":
            await _switch_to_wal(engine)
        else:
            async with engine.connect():
                pass
    except _FAILURES as error:
        url = engine.url.render_as_string(hide_password=True)
        raise StoreError(f"store.url: {url} cannot be opened: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    # SQLAlchemy's own text has the statement and a link; the driver's says what is wrong.
    return " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__


def transaction(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Decorates a method that is one transaction: once begun it ends, also if its caller is cancelled meanwhile.

    A connection that is abandoned while SQLite's driver is in the middle of BEGIN IMMEDIATE keeps the right to write,
    and every process is locked out. The caller's cancellation follows when the transaction has ended.

    Raises:
        StoreError: from the method: the database did not do it.
    """

    @wraps(method)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(method(*args, **kwargs))
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
        try:
            result = task.result()
        except _FAILURES as error:
            raise (cancelled or StoreError(f"the store: {_reason(error)}")) from None
        if cancelled is not None:
            raise cancelled
        return result

    return run


def reading(engine: AsyncEngine) -> AsyncEngine:
    """The same engine and pool for transactions that only read: on SQLite they never wait for a writer."""
    return engine.execution_options(**{_READ_ONLY: True})


@transaction
async def create_tables(engine: AsyncEngine, metadata: MetaData) -> None:
    """Create the tables that do not exist yet; several processes may do so at the same time."""
    async with engine.begin() as connection:
        # "Does it exist?" and CREATE are two steps. BEGIN IMMEDIATE makes them one on SQLite, this lock on PostgreSQL.
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": TABLES_LOCK})
        await connection.run_sync(metadata.create_all)


def upsert(
    connection: AsyncConnection,
    table: Table,
    values: Mapping[str, Any],
    *,
    update: Iterable[str] = (),
    where: Callable[[ColumnCollection[str, Any]], ColumnElement[bool]] | None = None,
) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of one row that, if the primary key exists, updates the columns `update` (none: leaves it alone).

    Args:
        connection: tells the dialect.
        table: has a primary key.
        values: column name to value or SQL expression.
        update: names of columns to take from `values` when the row exists.
        where: gets the columns of the row that was to be inserted; only where it holds is the row updated.
    """
    columns = list(update)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(dict(values))
    keys = list(table.primary_key.columns)
    if not columns:
        return statement.on_conflict_do_nothing(index_elements=keys)
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={name: statement.excluded[name] for name in columns},
        where=where(statement.excluded) if where else None,
    )


def _open_postgresql(url: URL, settings: StoreSettings) -> AsyncEngine:
    if url.drivername != "postgresql+asyncpg":
        raise SettingsError("store.url: must start with sqlite+aiosqlite:// or postgresql+asyncpg://")
    if settings.password is not None:
        url = url.set(password=settings.password.reveal())
    # A server that stops answering without hanging up would otherwise hold a transaction, and its worker, for ever.
    limits = {"timeout": CONNECT_S, "command_timeout": COMMAND_S}
    return create_async_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=limits)


def _open_sqlite(url: URL, *, create: bool) -> AsyncEngine:
    if url.drivername != "sqlite+aiosqlite":
        raise SettingsError("store.url: SQLite is opened with sqlite+aiosqlite:///path")
    if not url.database or url.database == ":memory:" or url.query:
        raise SettingsError("store.url: SQLite needs a plain path to a file, which the processes share")
    path = Path(url.database)
    if path.is_dir() or not (create or path.exists()):
        raise StoreError(f"store.url: {path.absolute()} is {'a folder' if path.is_dir() else 'not there'}")
    _create_private_file(path)
    engine = create_async_engine(url, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite_connection)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _create_private_file(path: Path) -> None:
    try:
        _make_private(path)
    except OSError as error:
        raise StoreError(f"store.url: {path} cannot be made, or made private: {error.strerror}") from error


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # An existing file is never opened here: closing it would drop all POSIX locks that SQLite holds on it in this
    # process. SQLite gives -wal and -shm the mode of the database file.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if mode & _EVERYBODY:
            path.chmod(mode & ~_EVERYBODY & 0o777)


def _prepare_sqlite_connection(connection: Any, _record: Any) -> None:
    # SQLAlchemy's documented recipe: the driver shall begin nothing by itself, `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # In WAL mode NORMAL may lose the last commits with the power, and by then their Kafka offset is committed.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


async def _switch_to_wal(engine: AsyncEngine) -> None:
    """WAL mode is kept in the file; switching a new file to it ignores busy_timeout, so wait here."""
    async with asyncio.timeout(BUSY_TIMEOUT_MS / 1000):
        while True:
            try:
                async with engine.connect() as connection:
                    # Past SQLAlchemy, whose BEGIN would come first: the mode cannot change inside a transaction.
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    await driver.execute_fetchall("PRAGMA journal_mode = WAL")
                    return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            await asyncio.sleep(0.02)
