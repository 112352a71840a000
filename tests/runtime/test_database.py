"""The SQL store opens alike on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.database import create_tables, database_now, open_database, reading, upsert
from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import SettingsError, StoreError
from tests.servicetrade.postgres import new_database

pytestmark = [pytest.mark.anyio, pytest.mark.containers]

METADATA = MetaData()
ROWS = Table(
    "test_rows",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("body", Text),
)


def sqlite(path: Path) -> StoreSettings:
    return StoreSettings(url=f"sqlite+aiosqlite:///{path}", key=Secret("unused"))


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.fixture(params=["sqlite", "postgresql"])
async def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    if request.param == "sqlite":
        return sqlite(tmp_path / "new" / "folder" / "store.db")
    return StoreSettings(url=await new_database(), key=Secret("unused"))


@pytest.fixture
async def engine(settings: StoreSettings) -> AsyncIterator[AsyncEngine]:
    async with open_database(settings) as engine:
        await create_tables(engine, METADATA)
        yield engine


async def versions(engine: AsyncEngine) -> list[int]:
    async with reading(engine).begin() as connection:
        return list((await connection.scalars(select(ROWS.c.version).order_by(ROWS.c.id))).all())


async def test_tables_can_be_created_by_many_at_once(settings: StoreSettings) -> None:
    async def start() -> None:
        async with open_database(settings) as engine:
            await create_tables(engine, METADATA)
            assert await versions(engine) == []

    await asyncio.gather(*(start() for _ in range(6)))


async def test_the_databases_clock_is_milliseconds_since_the_epoch(engine: AsyncEngine) -> None:
    before = time.time_ns() // 1_000_000 - 1
    async with engine.begin() as connection:
        now = await connection.scalar(select(database_now()))
    assert now is not None
    assert before <= now <= time.time_ns() // 1_000_000 + 1


async def test_concurrent_read_then_write_transactions_lose_no_update(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(ROWS).values(id=1, version=0))

    async def increment() -> None:
        async with engine.begin() as connection:
            query = select(ROWS.c.version).where(ROWS.c.id == 1).with_for_update()
            version = (await connection.execute(query)).scalar_one()
            await connection.execute(update(ROWS).values(version=version + 1))

    await asyncio.gather(*(increment() for _ in range(20)))
    assert await versions(engine) == [20]


async def test_a_transaction_that_fails_leaves_nothing(engine: AsyncEngine) -> None:
    async def fail() -> None:
        async with engine.begin() as connection:
            await connection.execute(insert(ROWS).values(id=1, version=0))
            await connection.execute(insert(ROWS).values(id=1, version=0))

    with pytest.raises(DBAPIError):
        await fail()
    assert await versions(engine) == []


async def test_an_upsert_inserts_updates_where_allowed_and_leaves_alone(engine: AsyncEngine) -> None:
    async def put(version: int, *columns: str) -> None:
        async with engine.begin() as connection:
            values = {"id": 1, "version": version, "body": f"v{version}"}
            await connection.execute(
                upsert(connection, ROWS, values, update=columns, where=lambda new: new.version > ROWS.c.version)
            )

    for version, columns, expected in (
        (5, ("version", "body"), 5),
        (4, ("version", "body"), 5),
        (6, ("version", "body"), 6),
        (9, (), 6),
    ):
        await put(version, *columns)
        assert await versions(engine) == [expected]


async def test_an_upsert_without_condition_always_updates(engine: AsyncEngine) -> None:
    for version in (5, 4):
        async with engine.begin() as connection:
            await connection.execute(upsert(connection, ROWS, {"id": 1, "version": version}, update=["version"]))
    assert await versions(engine) == [4]


async def test_a_reader_does_not_wait_for_a_writer(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(ROWS).values(id=1, version=0))
        assert await versions(engine) == []
    assert await versions(engine) == [0]


async def test_errors_do_not_show_the_values_of_a_statement(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text("SELECT nothing FROM nowhere WHERE x = :secret"), {"secret": "hunter2"})
    assert "hunter2" not in str(caught.value)


async def test_a_new_sqlite_file_is_private_durable_and_in_wal_mode(tmp_path: Path) -> None:
    async with open_database(sqlite(tmp_path / "store.db")) as engine:
        await create_tables(engine, METADATA)
        assert modes(tmp_path) == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
        async with reading(engine).begin() as connection:
            pragmas = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            ]
    assert pragmas == ["wal", 2, 10_000, 1]


async def test_an_existing_sqlite_file_keeps_its_rows_and_its_mode_but_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    path.chmod(0o644)
    for version in (1, 2):
        async with open_database(sqlite(path)) as engine:
            await create_tables(engine, METADATA)
            async with engine.begin() as connection:
                await connection.execute(insert(ROWS).values(id=version, version=version))
                assert await connection.scalar(select(func.count()).select_from(ROWS)) == version
    assert path.stat().st_mode & 0o777 == 0o640


async def test_the_password_of_the_settings_is_used_and_not_printed() -> None:
    settings = StoreSettings(
        url="postgresql+asyncpg://app@127.0.0.1:1/name", password=Secret("hunter2"), key=Secret("unused")
    )
    with pytest.raises(
        StoreError, match=r"store\.url: postgresql\+asyncpg://app:\*\*\*@127.0.0.1:1/name cannot be opened"
    ):
        async with open_database(settings):
            pass


async def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("Dear diary, " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        async with open_database(sqlite(path)):
            pass
    with pytest.raises(StoreError, match="cannot be made"):
        async with open_database(sqlite(path / "below a file")):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite:///x.db",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite+aiosqlite:///x.db?mode=ro",
        "postgresql://host/name",
        "mysql://host/name",
    ],
)
async def test_a_url_that_cannot_be_shared_by_processes_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.url"):
        async with open_database(StoreSettings(url=url, key=Secret("unused"))):
            pass
