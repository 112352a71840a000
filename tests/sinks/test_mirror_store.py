"""The contract of the mirror's table, held on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.encoding import decode
from schemas.errors import StoreError
from sinks.mirror_core import snapshot_of
from sinks.mirror_row import Reading
from sinks.mirror_store import MirrorStore
from tests.sinks.making import change

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(store_settings: StoreSettings) -> AsyncIterator[MirrorStore]:
    async with open_database(store_settings) as engine:
        await upgrade(engine)
        yield MirrorStore(engine)


async def begin(store: MirrorStore, number: int) -> Reading:
    reading = await store.begin_read(change(number))
    assert reading is not None
    return reading


async def row_of(store: MirrorStore) -> Any:
    row = await store.read("acme", "job", "1")
    assert row is not None
    return row


JOB = {"id": 1, "name": "Repair", "status": "scheduled", "created": 5, "updated": 10}


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


async def test_a_change_that_is_redriven_gets_a_ticket_all_the_same(store: MirrorStore) -> None:
    reading = await begin(store, 2)
    await store.write(change(2), reading.ticket, snapshot_of(JOB))
    again = await store.begin_read(change(1), again=True)
    assert again == Reading(ticket=2, last_sequence=change(2).sequence)
    assert await store.write(change(1), 2, snapshot_of({**JOB, "updated": 11}))
    assert (await row_of(store)).last_sequence == change(2).sequence


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


async def test_a_change_that_a_read_covered_is_noted_where_a_read_is(store: MirrorStore) -> None:
    assert await store.note(change(5)) is None
    reading = await begin(store, 1)
    assert await store.note(change(5)) is None
    await store.write(change(1), reading.ticket, snapshot_of(JOB))
    assert await store.note(change(5)) == change(1).sequence
    assert await store.note(change(4)) == change(5).sequence
    row = await row_of(store)
    assert (row.name, row.last_sequence, row.last_change_id) == ("Repair", change(5).sequence, change(5).id)


async def test_any_text_that_servicetrade_may_send_comes_back_as_it_was_but_for_the_nul(store: MirrorStore) -> None:
    odd = {
        "id": 2687264638045377,
        "name": "\0Zoë \\u0000 \U0001f525",
        "list": [1.5, None, True, {"a\0b": "\x7f\u2028"}],
    }
    reading = await begin(store, 1)
    assert await store.write(change(1), reading.ticket, snapshot_of(odd))
    row = await row_of(store)
    assert row.name == "Zoë \\u0000 \U0001f525"
    assert decode(row.data.encode()) == {**odd, "name": row.name, "list": [1.5, None, True, {"ab": "\x7f\u2028"}]}


async def test_hundreds_of_entities_at_once_in_all_kinds_of_steps_are_each_as_if_alone(store: MirrorStore) -> None:
    async def work(entity: int, account: str) -> None:
        one = change(1, entity, account=account)
        reading = await store.begin_read(one)
        assert reading is not None
        assert await store.write(one, reading.ticket, snapshot_of({"id": entity, "updated": entity}))
        if entity % 3 == 0:
            assert await store.mark_deleted(change(2, entity, account=account), at=entity) == one.sequence
        elif entity % 3 == 1:
            assert await store.note(change(3, entity, account=account)) == one.sequence

    names = ("acme", "bolt", "crew")
    await asyncio.gather(*(work(entity, name) for entity in range(1, 101) for name in names))
    rows = {(row.account, int(row.entity_id)): row for row in await store.rows()}
    assert len(rows) == 300
    for (_, entity), row in rows.items():
        assert (row.updated_at, decode(row.data.encode())) == (entity, {"id": entity, "updated": entity})
        assert row.deleted_at == (entity if entity % 3 == 0 else None)
        assert row.last_sequence == change((2, 3, 1)[entity % 3]).sequence


async def test_what_the_database_refuses_fails_alone_among_many(store: MirrorStore) -> None:
    async def begin_one(entity: int) -> Reading | None:
        # No text of either database holds a lone surrogate.
        return await store.begin_read(change(1, "\udc80" if entity == 7 else entity))

    found = await asyncio.gather(*(begin_one(entity) for entity in range(20)), return_exceptions=True)
    assert isinstance(found[7], StoreError | ValueError)
    assert [one for number, one in enumerate(found) if number != 7] == [Reading(ticket=1, last_sequence="")] * 19


async def test_a_caller_that_is_cancelled_leaves_the_others_alone(store: MirrorStore) -> None:
    calls = [asyncio.create_task(store.begin_read(change(1, entity))) for entity in range(1, 21)]
    await asyncio.sleep(0)
    calls[3].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found.pop(3), asyncio.CancelledError)
    assert found == [Reading(ticket=1, last_sequence="")] * 19


async def test_a_database_that_cannot_be_written_fails_all_that_wait_at_once(tmp_path: Path) -> None:
    settings = StoreSettings(url=f"sqlite+aiosqlite:///{tmp_path}/store.db", key=Secret("unused"))
    async with open_database(settings) as engine:
        store = MirrorStore(engine)
        found = await asyncio.gather(*(begin(store, number) for number in range(1, 9)), return_exceptions=True)
        assert all(isinstance(one, StoreError) and "no such table" in str(one) for one in found)
        await upgrade(engine)
        assert (await begin(store, 9)).ticket == 1


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
