"""The store's schema on both databases: from nothing, from version 0.1.0, by many at once, and from a newer version."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.store_migration import migrate
from runtime.store_schema import upgrade
from schemas.errors import StoreError
from servicetrade import session_store
from servicetrade.session_store import SessionStore
from sinks import backfill_store, command_store, memory_store, mirror_store, open_letters, parking_store
from sinks.mirror_store import MirrorStore
from tests.servicetrade.conftest import sqlite_settings, store_settings

pytestmark = pytest.mark.anyio

__all__ = ["sqlite_settings", "store_settings"]

METADATAS = (
    session_store.METADATA,
    mirror_store.METADATA,
    backfill_store.METADATA,
    command_store.METADATA,
    memory_store.METADATA,
    open_letters.METADATA,
    parking_store.METADATA,
)
"""All tables that the program knows; a migration made them."""

# As version 0.1.0 made them; PostgreSQL's `bytea` in the place of BLOB.
TABLES_OF_0_1_0 = (
    """CREATE TABLE sessions (
        account VARCHAR(63) NOT NULL, generation BIGINT DEFAULT '0' NOT NULL, token BLOB, fingerprint VARCHAR(64),
        made_ms BIGINT DEFAULT '0' NOT NULL, suspicions BIGINT DEFAULT '0' NOT NULL,
        cleared BIGINT DEFAULT '0' NOT NULL, lease_owner VARCHAR(63), lease_until_ms BIGINT DEFAULT '0' NOT NULL,
        login_failures BIGINT DEFAULT '0' NOT NULL,
        not_before_ms BIGINT DEFAULT '0' NOT NULL, refused_fingerprints TEXT DEFAULT '' NOT NULL, refused_reason TEXT,
        updated_ms BIGINT DEFAULT '0' NOT NULL, PRIMARY KEY (account))""",
    """CREATE TABLE entities (
        account VARCHAR(63) NOT NULL, entity_type VARCHAR(200) NOT NULL, entity_id VARCHAR(19) NOT NULL, data TEXT,
        name TEXT, status TEXT, created_at BIGINT, updated_at BIGINT, deleted_at BIGINT,
        last_sequence VARCHAR(200) DEFAULT '' NOT NULL, last_change_id VARCHAR(200), ticket BIGINT DEFAULT '0' NOT NULL,
        written_ticket BIGINT DEFAULT '0' NOT NULL, mirrored_at BIGINT,
        PRIMARY KEY (account, entity_type, entity_id))""",
)
ODD = r'{"id":7,"name":"a\u0000b","path":"C:\\u0000","list":[{"\u0000x":1.50}],"price":12.10}'


@pytest.fixture
async def engine(store_settings: StoreSettings) -> AsyncIterator[AsyncEngine]:
    async with open_database(store_settings) as opened:
        yield opened


async def make_0_1_0(engine: AsyncEngine, *, only: int | None = None) -> None:
    async with engine.begin() as connection:
        binary = "BYTEA" if engine.dialect.name == "postgresql" else "BLOB"
        for statement in TABLES_OF_0_1_0[:only]:
            await connection.execute(text(statement.replace("BLOB", binary)))


async def fill_0_1_0(engine: AsyncEngine) -> None:
    row = (
        "INSERT INTO entities (account, entity_type, entity_id, data, name, last_sequence, ticket, mirrored_at) VALUES "
    )
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO sessions (account, generation) VALUES ('acme', 7)"))
        for entity_id, data in (("7", ODD), ("8", '{"id":8,"name":"plain"}'), ("9", None)):
            values = {"id": entity_id, "data": data}
            await connection.execute(text(f"{row} ('acme', 'job', :id, :data, 'n', '0001-5', 3, 1)"), values)


def described(connection: Connection) -> dict[str, Any]:
    """All tables, as the database tells."""
    found = inspect(connection)
    return {
        table: (
            [(one["name"], str(one["type"]), one["nullable"], one["default"]) for one in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((one["name"] or "", one["column_names"]) for one in found.get_indexes(table)),
        )
        for table in found.get_table_names()
        if table != "alembic_version"
    }


async def schema_of(engine: AsyncEngine) -> dict[str, Any]:
    async with engine.begin() as connection:
        return await connection.run_sync(described)


async def test_the_first_step_makes_exactly_the_tables_of_version_0_1_0(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(migrate, to="0001")
    migrated = await schema_of(engine)
    async with engine.begin() as connection:
        for table in ("sessions", "entities", "alembic_version"):
            await connection.execute(text(f"DROP TABLE {table}"))
    await make_0_1_0(engine)
    assert migrated == await schema_of(engine)


async def test_a_migrated_store_has_exactly_the_tables_that_the_program_knows(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[Any]:
        known = MetaData()
        for metadata in METADATAS:
            for table in metadata.sorted_tables:
                table.to_metadata(known)
        return list(compare_metadata(MigrationContext.configure(connection), known))

    await upgrade(engine)
    async with engine.begin() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize("tables", [1, 2])
async def test_a_store_of_version_0_1_0_becomes_the_same_as_a_new_one(
    store_settings: StoreSettings, engine: AsyncEngine, tables: int
) -> None:
    await make_0_1_0(engine, only=tables)
    await upgrade(engine)
    old = await schema_of(engine)
    async with engine.begin() as connection:
        for table in (*old, "alembic_version"):
            await connection.execute(text(f"DROP TABLE {table}"))
    async with open_database(store_settings) as again:
        await upgrade(again)
        assert old == await schema_of(again)


async def test_the_rows_of_version_0_1_0_are_kept_and_lose_only_what_jsonb_cannot_hold(
    store_settings: StoreSettings, engine: AsyncEngine
) -> None:
    await make_0_1_0(engine)
    await fill_0_1_0(engine)
    await upgrade(engine)
    odd, plain, unread = sorted(await MirrorStore(engine).rows(), key=lambda row: row.entity_id)
    expected = {"id": 7, "name": "ab", "path": "C:\\u0000", "list": [{"x": 1.5}], "price": 12.1}
    assert (json.loads(odd.data), odd.last_sequence, odd.ticket) == (expected, "0001-5", 3)
    assert json.loads(plain.data) == {"id": 8, "name": "plain"}
    assert unread.data is None
    assert (await SessionStore(engine, store_settings.key).read("acme")).generation == 7


async def test_a_person_can_ask_the_database_for_what_is_in_the_json(engine: AsyncEngine) -> None:
    await make_0_1_0(engine)
    await fill_0_1_0(engine)
    await upgrade(engine)
    async with engine.begin() as connection:
        query = text("SELECT entity_id FROM entities WHERE data ->> 'name' = 'plain'")
        assert (await connection.execute(query)).scalars().all() == ["8"]


async def test_upgrading_again_changes_nothing_and_takes_no_lock(
    store_settings: StoreSettings, engine: AsyncEngine
) -> None:
    await upgrade(engine)
    before = await schema_of(engine)
    async with open_database(store_settings) as other, other.begin():
        await upgrade(engine)  # with another's write transaction open
    assert await schema_of(engine) == before


async def test_a_store_that_a_newer_version_has_migrated_is_refused_and_left_alone(engine: AsyncEngine) -> None:
    await upgrade(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = await schema_of(engine)
    with pytest.raises(StoreError, match=r"a newer tradewind has migrated the store \(to step 9999"):
        await upgrade(engine)
    assert await schema_of(engine) == before


async def test_a_migration_that_fails_leaves_the_store_as_it_was(engine: AsyncEngine) -> None:
    await make_0_1_0(engine)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE backfills (x INTEGER)"))
    before = await schema_of(engine)
    with pytest.raises(StoreError, match="backfills"):
        await upgrade(engine)
    assert await schema_of(engine) == before


UPGRADE = """
import asyncio, sys
from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret

async def main():
    async with open_database(StoreSettings(url=sys.argv[1], key=Secret(sys.argv[2]))) as engine:
        print("ready", flush=True)
        sys.stdin.readline()
        await upgrade(engine)

asyncio.run(main())
"""


async def test_four_processes_at_once_migrate_once(store_settings: StoreSettings, engine: AsyncEngine) -> None:
    await make_0_1_0(engine)
    await fill_0_1_0(engine)
    command = [sys.executable, "-W", "error", "-c", UPGRADE, store_settings.url, store_settings.key.reveal()]
    pipe = asyncio.subprocess.PIPE
    processes = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        results = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    assert [process.returncode for process in processes] == [0] * 4, results
    assert len(await MirrorStore(engine).rows()) == 3
