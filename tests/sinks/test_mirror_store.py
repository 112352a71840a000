"""The contract of the mirror's table, held on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runtime.database import open_database
from runtime.settings import StoreSettings
from sinks.mirror_core import snapshot_of
from sinks.mirror_store import MirrorStore, Reading
from tests.sinks.support import change

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(store_settings: StoreSettings) -> AsyncIterator[MirrorStore]:
    async with open_database(store_settings) as engine:
        found = MirrorStore(engine)
        await found.create_tables()
        yield found


async def begin(store: MirrorStore, number: int) -> Reading:
    reading = await store.begin_read(change(number))
    assert reading is not None
    return reading


async def row_of(store: MirrorStore) -> Any:
    row = await store.read("acme", "job", "1")
    assert row is not None
    return row


JOB = {"id": 1, "name": "Repair", "status": "scheduled", "created": 5, "updated": 10}


async def test_several_processes_may_create_the_table_at_once(store_settings: StoreSettings) -> None:
    async def create() -> None:
        async with open_database(store_settings) as engine:
            await MirrorStore(engine).create_tables()

    await asyncio.gather(*(create() for _ in range(4)))


async def test_what_a_read_found_is_written_with_the_change_that_asked_for_it(store: MirrorStore) -> None:
    assert await store.read("acme", "job", "1") is None
    reading = await begin(store, 1)
    assert (reading.ticket, reading.last_sequence) == (1, "")
    assert await store.write(change(1), 1, snapshot_of(JOB))
    row = await row_of(store)
    assert (row.name, row.status, row.created_at, row.updated_at) == ("Repair", "scheduled", 5, 10)
    assert (row.deleted_at, row.last_sequence, row.last_change_id) == (None, change(1).sequence, change(1).id)
    assert row.mirrored_at > 1_700_000_000


async def test_a_change_that_has_had_its_effect_gets_no_ticket(store: MirrorStore) -> None:
    reading = await begin(store, 2)
    await store.write(change(2), reading.ticket, snapshot_of(JOB))
    assert await store.begin_read(change(2)) is None
    assert await store.begin_read(change(1)) is None
    assert await begin(store, 3) == Reading(ticket=2, last_sequence=change(2).sequence)


async def test_readers_at_the_same_time_get_different_tickets(store: MirrorStore) -> None:
    readings = await asyncio.gather(*(begin(store, 1) for _ in range(8)))
    assert sorted(reading.ticket for reading in readings) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_stale_read_never_overwrites_a_later_one_but_its_change_counts_as_seen(store: MirrorStore) -> None:
    slow, quick = await begin(store, 2), await begin(store, 1)
    assert await store.write(change(1), quick.ticket, snapshot_of({**JOB, "name": "new"}))
    assert not await store.write(change(2), slow.ticket, snapshot_of({**JOB, "name": "old"}))
    row = await row_of(store)
    assert (row.name, row.last_sequence, row.written_ticket) == ("new", change(2).sequence, quick.ticket)


async def test_a_later_update_wins_even_if_its_read_began_earlier(store: MirrorStore) -> None:
    first, second = await begin(store, 1), await begin(store, 2)
    assert await store.write(change(2), second.ticket, snapshot_of({**JOB, "updated": 10}))
    assert await store.write(change(1), first.ticket, snapshot_of({**JOB, "updated": 11}))
    row = await row_of(store)
    assert (row.updated_at, row.last_sequence) == (11, change(2).sequence)


async def test_a_deletion_keeps_the_data_and_marking_again_changes_nothing(store: MirrorStore) -> None:
    reading = await begin(store, 1)
    await store.write(change(1), reading.ticket, snapshot_of(JOB))
    assert await store.mark_deleted(change(2, action="deleted"), at=77) == change(1).sequence
    marked = await row_of(store)
    assert (marked.name, marked.deleted_at, marked.last_sequence) == ("Repair", 77, change(2).sequence)
    assert await store.mark_deleted(change(2, action="deleted"), at=88) == change(2).sequence
    assert await row_of(store) == marked
    await store.mark_deleted(change(3, action="deleted"), at=99)
    assert (await row_of(store)).deleted_at == 77


async def test_an_entity_never_seen_before_can_be_marked_deleted(store: MirrorStore) -> None:
    assert await store.mark_deleted(change(1, action="deleted"), at=77) == ""
    row = await row_of(store)
    assert (row.data, row.deleted_at) == (None, 77)


async def test_a_read_that_began_before_a_deletion_does_not_bring_the_entity_back(store: MirrorStore) -> None:
    late = await begin(store, 1)
    await store.mark_deleted(change(2, action="deleted"), at=77)
    assert not await store.write(change(1), late.ticket, snapshot_of({**JOB, "updated": 99}))
    assert (await row_of(store)).deleted_at == 77
    after = await begin(store, 3)
    assert await store.write(change(3), after.ticket, snapshot_of(JOB))
    assert (await row_of(store)).deleted_at is None


async def test_a_read_that_found_nothing_marks_the_entity_whatever_was_noted_meanwhile(store: MirrorStore) -> None:
    reading = await begin(store, 1)
    other = await begin(store, 2)
    await store.write(change(2), other.ticket, snapshot_of(JOB))
    await store.mark_deleted(change(1), at=None)
    row = await row_of(store)
    assert row.deleted_at == row.mirrored_at
    assert (row.last_sequence, reading.ticket) == (change(2).sequence, 1)


async def test_many_workers_at_once_leave_the_latest_state(store_settings: StoreSettings, store: MirrorStore) -> None:
    async def work(number: int) -> None:
        async with open_database(store_settings) as engine:
            mine = MirrorStore(engine)
            reading = await mine.begin_read(change(number))
            if reading is not None:
                await mine.write(change(number), reading.ticket, snapshot_of({"updated": number}))

    await asyncio.gather(*(work(number) for number in range(1, 9)))
    row = await row_of(store)
    assert (row.updated_at, row.last_sequence) == (8, change(8).sequence)
