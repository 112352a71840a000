"""The contract of the tables `parked` and `halts`, held on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from schemas.errors import StoreError
from schemas.record import LogRecord
from sinks.parking_store import METADATA, Halts, ParkingStore, Place, parked_by_sink

pytestmark = pytest.mark.anyio

SINK, TOPIC = "forward/crm", "servicetrade.changes"
ALL = range(12)
ACME, BOLT = Place(account="acme"), Place(account="bolt")


@pytest.fixture
async def engine(store_settings: StoreSettings) -> AsyncIterator[AsyncEngine]:
    async with open_database(store_settings) as found:
        await upgrade(found)
        yield found


@pytest.fixture
def store(engine: AsyncEngine) -> ParkingStore:
    return ParkingStore(engine, SINK, TOPIC)


@pytest.fixture
def halts(engine: AsyncEngine) -> Halts:
    return Halts(engine)


def job(entity_id: int, account: str = "acme") -> str:
    return f"{account}/job/{entity_id}"


def record(offset: int, of: str = "acme/job/1", *, partition: int = 0, **more: Any) -> LogRecord:
    values = {"topic": TOPIC, "timestamp": 1_700_000_000_000 + offset, "key": of.encode(), "value": b"{}", **more}
    return LogRecord(partition=partition, offset=offset, **values)


async def put(store: ParkingStore, place: Place, *records: LogRecord) -> None:
    await store.put([(place, (one.key or b"").decode(), one) for one in records])


async def offsets(store: ParkingStore, place: Place, partitions: range = ALL, at_most: int = 100) -> list[int]:
    return [one.offset for one in await store.first(place, partitions, at_most)]


ODD: list[dict[str, Any]] = [
    {"key": None, "value": None},
    {"key": b"", "value": b""},
    {"key": b"\xff\x00key", "value": bytes(range(256))},
    {"headers": (("x", None), ("x", b""), ("x", b"\x00\xff"))},
    {"headers": (("größe 名前", "ü".encode()), ("", b"nameless"), ('"quoted\\', b"1"))},
    {"offset": 2**62, "timestamp": 2**62},
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_a_record_comes_back_byte_for_byte(store: ParkingStore, odd: dict[str, Any]) -> None:
    one = record(**{"offset": 7, **odd})
    await store.put([(ACME, job(1), one)])
    assert await store.first(ACME, ALL, 10) == [one]


async def test_what_is_there_already_stays_as_it_is(store: ParkingStore) -> None:
    await put(store, ACME, record(1), record(2))
    again = record(2, value=b"another", timestamp=1, headers=(("a", b"b"),))
    await store.put([(Place(account="acme", key=job(1)), job(1), again), (ACME, job(1), record(3))])
    assert await store.first(ACME, ALL, 10) == [record(1), record(2), record(3)]
    assert await store.places(ALL) == [ACME]


async def test_the_oldest_of_each_partition_come_first(store: ParkingStore) -> None:
    await put(store, ACME, *(record(offset, partition=offset % 2) for offset in (9, 4, 11, 3, 10, 2)))
    assert await offsets(store, ACME) == [2, 4, 10, 3, 9, 11]
    assert await offsets(store, ACME, at_most=2) == [2, 4]
    assert await offsets(store, ACME, range(1, 2)) == [3, 9, 11]
    assert await offsets(store, ACME, range(2, 12)) == []


async def test_what_has_an_outcome_is_gone_and_nothing_else(store: ParkingStore) -> None:
    await put(store, ACME, *(record(offset, partition=partition) for offset in (1, 2, 3) for partition in (0, 1)))
    await store.remove([record(1), record(3, partition=1), record(99)])
    assert await offsets(store, ACME) == [2, 3, 1, 2]
    await store.remove([record(1), record(2)])
    assert await offsets(store, ACME) == [3, 1, 2]


async def test_places_of_accounts_and_of_keys_are_told_apart(store: ParkingStore) -> None:
    alone = Place(account="acme", key=job(2))
    await put(store, ACME, record(1, job(1)), record(2, job(1)), record(5, job(3)))
    await put(store, alone, record(3, job(2)), record(4, job(2)))
    await put(store, BOLT, record(6, job(1, "bolt"), partition=1))
    assert sorted(await store.places(ALL), key=lambda place: place.name) == [ACME, alone, BOLT]
    assert await store.places(range(1, 2)) == [BOLT]
    assert await store.places([]) == []
    assert (await offsets(store, ACME), await offsets(store, alone)) == ([1, 2, 5], [3, 4])
    assert [one.name for one in (ACME, alone)] == ["acme", "acme/job/2"]


async def test_a_key_that_gets_a_place_of_its_own_takes_what_is_there_along(store: ParkingStore) -> None:
    own = Place(account="acme", key=job(1))
    await put(store, ACME, record(1), record(2, job(2)), record(3), record(4, partition=1))
    await put(store, BOLT, record(5, job(1, "bolt")))
    await store.narrow(own, range(1))
    assert (await offsets(store, own), await offsets(store, ACME)) == ([1, 3], [2, 4])
    assert await offsets(store, BOLT) == [5]
    await store.narrow(own, ALL)
    await store.narrow(own, ALL)
    assert (await offsets(store, own), await offsets(store, ACME)) == ([1, 3, 4], [2])


async def test_records_are_counted_by_account_whatever_their_place(engine: AsyncEngine, store: ParkingStore) -> None:
    assert (await store.counts(ALL), await parked_by_sink(engine)) == ({}, {})
    await put(store, ACME, record(1), record(2, partition=1))
    await put(store, Place(account="acme", key=job(2)), record(3, job(2)))
    await put(store, BOLT, record(4, job(1, "bolt")))
    assert await store.counts(ALL) == {"acme": 3, "bolt": 1}
    assert await store.counts(range(1)) == {"acme": 2, "bolt": 1}
    await put(ParkingStore(engine, "mirror", TOPIC), ACME, record(1))
    await put(ParkingStore(engine, SINK, "other"), ACME, record(1, topic="other"))
    assert await parked_by_sink(engine) == {SINK: {"acme": 4, "bolt": 1}, "mirror": {"acme": 1}}


async def test_sinks_and_topics_do_not_see_or_touch_each_others_rows(engine: AsyncEngine, store: ParkingStore) -> None:
    others = [ParkingStore(engine, "mirror", TOPIC), ParkingStore(engine, SINK, "other")]
    for one, topic in zip(others, (TOPIC, "other"), strict=True):
        await put(one, ACME, record(1, topic=topic, value=topic.encode()))
    assert (await store.places(ALL), await store.first(ACME, ALL, 10), await store.counts(ALL)) == ([], [], {})
    await put(store, ACME, record(1))
    await store.narrow(Place(account="acme", key=job(1)), ALL)
    await store.remove([record(1)])
    for one in others:
        assert await one.places(ALL) == [ACME]
        assert await offsets(one, ACME) == [1]


async def test_many_are_put_aside_and_removed_at_once(store: ParkingStore) -> None:
    many = [record(offset) for offset in range(500)]
    await put(store, ACME, *many)
    assert await store.first(ACME, ALL, 1000) == many
    await store.remove(many)
    assert await store.counts(ALL) == {}


async def test_two_processes_that_put_the_same_records_aside_get_along(
    store_settings: StoreSettings, store: ParkingStore
) -> None:
    records = [record(offset) for offset in range(100)]
    async with open_database(store_settings) as elsewhere:
        other = ParkingStore(elsewhere, SINK, TOPIC)
        await asyncio.gather(put(store, ACME, *records), put(other, ACME, *records))
        assert await offsets(other, ACME) == list(range(100))


async def test_a_database_that_fails_says_so(engine: AsyncEngine, store: ParkingStore, halts: Halts) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
    for work in (put(store, ACME, record(1)), store.places(ALL), store.counts(ALL), halts.halt(SINK, "410")):
        with pytest.raises(StoreError):
            await work


async def test_the_first_reason_to_halt_stands_until_the_sink_is_resumed(halts: Halts) -> None:
    assert (await halts.of(SINK), await halts.all(), await halts.resume(SINK)) == (None, [], False)
    await halts.halt(SINK, "410 Gone")
    (before,) = await halts.all()
    await halts.halt(SINK, "dead letters")
    await halts.halt("mirror", "another")
    assert [(one.sink, one.reason) for one in await halts.all()] == [(SINK, "410 Gone"), ("mirror", "another")]
    assert (await halts.all())[0] == before
    assert before.since_ms > 1_700_000_000_000
    assert await halts.of(SINK) == "410 Gone"
    assert (await halts.resume(SINK), await halts.resume(SINK)) == (True, False)
    assert (await halts.of(SINK), await halts.of("mirror")) == (None, "another")
    await halts.halt(SINK, "dead letters")
    assert await halts.of(SINK) == "dead letters"
