"""The contract of the table `delivered`, held on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.database import create_tables, open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from schemas.errors import StoreError
from sinks.memory_store import METADATA, MemoryStore
from tests.sinks.making import change

pytestmark = pytest.mark.anyio

SINK = "forward/crm"


@pytest.fixture
async def engine(store_settings: StoreSettings) -> AsyncIterator[AsyncEngine]:
    async with open_database(store_settings) as found:
        await upgrade(found)
        yield found


@pytest.fixture
def store(engine: AsyncEngine) -> MemoryStore:
    return MemoryStore(engine)


async def forget_the_table(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)


async def test_nothing_is_remembered_at_first(store: MemoryStore) -> None:
    assert await store.last_sequence(SINK, change(1)) == ""


async def test_the_highest_sequence_is_remembered_whoever_writes_last(
    store_settings: StoreSettings, store: MemoryStore
) -> None:
    async with open_database(store_settings) as elsewhere:
        other = MemoryStore(elsewhere)
        await store.remember(SINK, change(5))
        await other.remember(SINK, change(7))
        await store.remember(SINK, change(6))
        await store.remember(SINK, change(5))
        for one in (store, other):
            assert await one.last_sequence(SINK, change(1)) == change(7).sequence


async def test_what_another_process_remembers_is_known_at_once(
    store_settings: StoreSettings, store: MemoryStore
) -> None:
    async with open_database(store_settings) as elsewhere:
        other = MemoryStore(elsewhere)
        for number in range(1, 4):
            assert await store.last_sequence(SINK, change(number)) < change(number).sequence
            await other.remember(SINK, change(number))
            assert await store.last_sequence(SINK, change(number)) == change(number).sequence


async def test_sinks_accounts_types_and_entities_are_kept_apart(store: MemoryStore) -> None:
    await store.remember(SINK, change(9, 1))
    others = [change(1, 2), change(1, 1, account="bolt"), change(1, 1, entity_type="invoice")]
    assert await asyncio.gather(*(store.last_sequence(SINK, one) for one in others)) == ["", "", ""]
    assert await store.last_sequence("forward/other", change(9, 1)) == ""


async def test_what_waits_at_the_same_time_shares_a_transaction(engine: AsyncEngine, store: MemoryStore) -> None:
    begun: list[object] = []
    event.listen(engine.sync_engine, "begin", begun.append)
    await asyncio.gather(*(store.remember(SINK, change(number, number)) for number in range(1, 101)))
    assert len(begun) <= 2
    begun.clear()
    found = await asyncio.gather(*(store.last_sequence(SINK, change(1, number)) for number in range(1, 101)))
    assert found == [change(number).sequence for number in range(1, 101)]
    assert len(begun) <= 2


async def test_processes_that_write_the_same_entities_in_any_order_do_not_lock_each_other_out(
    store_settings: StoreSettings, store: MemoryStore
) -> None:
    async with open_database(store_settings) as elsewhere:
        other = MemoryStore(elsewhere)
        for number in range(1, 6):
            ours = [store.remember(SINK, change(number, entity)) for entity in range(50)]
            theirs = [other.remember(SINK, change(number + 1, entity)) for entity in reversed(range(50))]
            await asyncio.gather(*ours, *theirs)
    found = {await store.last_sequence(SINK, change(1, entity)) for entity in range(50)}
    assert found == {change(6).sequence}


async def test_a_database_that_fails_fails_all_who_wait_and_those_after_it_recovers_get_through(
    engine: AsyncEngine, store: MemoryStore
) -> None:
    await forget_the_table(engine)
    writes = [store.remember(SINK, change(1, entity)) for entity in range(5)]
    reads = [store.last_sequence(SINK, change(1, entity)) for entity in range(5)]
    found = await asyncio.gather(*writes, *reads, return_exceptions=True)
    assert [type(one) for one in found] == [StoreError] * 10
    await create_tables(engine, METADATA)
    await store.remember(SINK, change(1))
    assert await store.last_sequence(SINK, change(1)) == change(1).sequence


async def test_sqlite_finds_what_is_remembered_without_reading_the_whole_table(sqlite_settings: StoreSettings) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement != "BEGIN":
            statements.append((statement, parameters))

    async with open_database(sqlite_settings) as engine:
        store = MemoryStore(engine)
        await upgrade(engine)
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        await store.last_sequence(SINK, change(1))
        ((statement, parameters),) = statements
        async with engine.begin() as connection:
            plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)).all()
    details = [row.detail for row in plan]
    assert any(one.startswith("SEARCH delivered USING INDEX") for one in details), details
    assert not any(one.startswith("SCAN delivered") for one in details), details
