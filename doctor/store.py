"""The checks of the SQL store: can it be opened and written, is its schema this program's, do its sessions open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from doctor.finding import STORE, Finding, many
from doctor.patience import Patience
from runtime.database import Database, open_database, reading, transaction
from runtime.settings import Settings
from runtime.store_schema import applied_step, known_steps
from schemas.errors import SettingsError, StoreError
from servicetrade.session_store import SessionStore

_URL, _SCHEMA, _WRITING, _KEY = "store.url", "schema", "writing", "store.key"
_AWAY = "the store cannot be opened"
_MIGRATE = "stop the processes of an older version; the first of this one that starts migrates the store"

Tell = Callable[[Finding], None]


@asynccontextmanager
async def checked_store(
    settings: Settings, tell: Tell, patience: Patience
) -> AsyncIterator[tuple[SessionStore | None, str]]:
    """Tell what is found, and lend the store of sessions to whoever goes on with them.

    Yields:
        the store, or None and why it is of no use.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(patience.store_s):
                database = await stack.enter_async_context(open_database(settings.store, create=False))
                tell(STORE.ok(_URL, await _described(database)))
        except (StoreError, SettingsError, TimeoutError) as error:
            tell(
                STORE.failed(
                    _URL, str(error) or f"no answer within {patience.store_s:g} s", _open_it(settings.store.url)
                )
            )
            for subject in (_SCHEMA, _WRITING, _KEY):
                tell(STORE.not_checked(subject, _AWAY))
            sessions, why = None, _AWAY
        else:
            sessions, why = await _examined(settings, database, tell)
        yield sessions, why


def _open_it(url: str) -> str:
    if url.startswith("sqlite"):
        return (
            "look at store.url: a relative path is relative to the folder that a process is started in; on a new "
            "installation the first process that starts makes the file"
        )
    return "start the database, or put store.url and store.password right"


async def _examined(settings: Settings, database: Database, tell: Tell) -> tuple[SessionStore | None, str]:
    schema = await _schema(database)
    tell(schema or STORE.ok(_SCHEMA, f"at step {_head()}, as this program needs it"))
    if schema is not None:
        why = "the store's schema is not this program's"
        tell(STORE.not_checked(_WRITING, why))
        tell(STORE.not_checked(_KEY, why))
        return None, why
    try:
        await _try_to_write(database)
    except StoreError as error:
        do = "give the database user the right to write; look for a full disk, a replica, a process that holds a lock"
        tell(STORE.failed(_WRITING, str(error), do))
        tell(STORE.not_checked(_KEY, "the store cannot be written"))
        return None, "the store cannot be written"
    tell(STORE.ok(_WRITING, "allowed"))
    return await _opened(settings, database, tell)


async def _schema(database: Database) -> Finding | None:
    """What is wrong with the schema; None: nothing."""
    try:
        found = await applied_step(database)
    except StoreError as error:
        return STORE.failed(_SCHEMA, str(error), "start the version of tradewind that belongs to the store")
    if found is None:
        return STORE.failed(_SCHEMA, "there are no tables, or those of version 0.1.0", _MIGRATE)
    if found != _head():
        return STORE.failed(_SCHEMA, f"is at step {found}, this program needs {_head()}", _MIGRATE)
    return None


def _head() -> str:
    return known_steps()[-1]


@transaction
async def _described(database: Database) -> str:
    """What it is, and whether what is sent to it can be read on its way."""
    name = database.url.render_as_string(hide_password=True)
    async with reading(database).begin() as connection:
        if connection.dialect.name == "sqlite":
            version = (await connection.exec_driver_sql("SELECT sqlite_version()")).scalar()
            return f"{name}: opened, SQLite {version}"
        version = (await connection.exec_driver_sql("SHOW server_version")).scalar()
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        encrypted = (await connection.exec_driver_sql(query)).scalar()
        return f"{name}: opened, PostgreSQL {version}, {'with' if encrypted else 'without'} TLS"


@transaction
async def _try_to_write(database: Database) -> None:
    """Ask for the right to change sessions, and change none."""
    async with database.begin() as connection:
        await connection.exec_driver_sql("UPDATE sessions SET account = account WHERE 1 = 0")


async def _opened(settings: Settings, database: Database, tell: Tell) -> tuple[SessionStore | None, str]:
    """Whether store.key opens the sessions of the configured accounts."""
    try:
        store = SessionStore(database, settings.store.key)
    except SettingsError:
        why = "store.key is no Fernet key"
        tell(STORE.not_checked(_KEY, why))
        return None, why
    try:
        rows = {account: await store.read(account) for account in settings.accounts}
    except StoreError as error:
        tell(STORE.failed(_KEY, str(error), "look at the database's log"))
        return None, "the store cannot be read"
    if locked := [account for account, row in rows.items() if row.undecryptable]:
        what = f"does not open the session of {', '.join(locked)}: it was encrypted with another key"
        do = (
            "put the key that made it into store.key as well (several are separated by white space); if that is lost: "
            + ", ".join(f"`tradewind session drop {account}`" for account in locked)
        )
        tell(STORE.failed(_KEY, what, do))
        return store, ""
    there = sum(row.token is not None for row in rows.values())
    tell(
        STORE.ok(
            _KEY, f"opens {many(there, 'stored session')}" if there else "there is no session yet that it could open"
        )
    )
    return store, ""
