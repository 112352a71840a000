"""The contract of the table of open dead letters, held on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from schemas.record import LogRecord
from sinks.letters import Original
from sinks.open_letters import OpenLetters

pytestmark = pytest.mark.anyio

LONG_AGO = 1_700_000_000_000


@pytest.fixture
async def letters(store_settings: StoreSettings) -> AsyncIterator[OpenLetters]:
    async with open_database(store_settings) as engine:
        await upgrade(engine)
        yield OpenLetters(engine)


def given_up(offset: int, *, partition: int = 3, topic: str = "servicetrade.changes") -> LogRecord:
    return LogRecord(topic=topic, partition=partition, offset=offset, timestamp=1)


async def counts(letters: OpenLetters, sink: str = "mirror") -> dict[str, int]:
    return await letters.counts(sink, newer_than_ms=LONG_AGO)


async def test_letters_are_counted_by_sink_and_account_and_each_once(letters: OpenLetters) -> None:
    assert await counts(letters) == {}
    for _ in range(3):
        await letters.add("mirror", "acme", given_up(1))
    await letters.add("mirror", "acme", given_up(1, partition=4))
    await letters.add("mirror", "acme", given_up(1, topic="other"))
    await letters.add("mirror", "bolt", given_up(2**40))
    await letters.add("mirror", "", given_up(5))
    await letters.add("forward/crm", "acme", given_up(1))
    assert await counts(letters) == {"acme": 3, "bolt": 1, "": 1}
    assert await counts(letters, "forward/crm") == {"acme": 1}


async def test_what_is_dealt_with_no_longer_counts_and_removing_it_again_is_nothing(letters: OpenLetters) -> None:
    for offset in range(4):
        await letters.add("mirror", "acme", given_up(offset))
    await letters.add("command", "acme", given_up(0))
    for _ in range(2):
        await letters.remove("mirror", "servicetrade.changes", 3, 0)
    assert await counts(letters) == {"acme": 3}
    await letters.remove_all([])
    await letters.remove_all([Original("mirror", "servicetrade.changes", 3, offset) for offset in (1, 2, 77)])
    assert await counts(letters) == {"acme": 1}
    assert await counts(letters, "command") == {"acme": 1}


async def test_letters_that_retention_has_removed_do_not_count(letters: OpenLetters) -> None:
    await letters.add("mirror", "acme", given_up(1))
    assert await letters.counts("mirror", newer_than_ms=2**45) == {}


async def age_of(letters: OpenLetters) -> int:
    """When the one letter was noted, Unix milliseconds, as far as the counts tell."""
    low, high = LONG_AGO, 2**45
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await letters.counts("mirror", newer_than_ms=middle) else (low, middle)
    return high


async def test_a_letter_that_comes_again_keeps_its_age(letters: OpenLetters) -> None:
    await letters.add("mirror", "acme", given_up(1))
    before = await age_of(letters)
    await letters.add("mirror", "acme", given_up(1))
    assert await age_of(letters) == before


async def test_several_processes_note_and_forget_the_same_letters_at_once(store_settings: StoreSettings) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(open_database(store_settings)) for _ in range(4)]
        await upgrade(engines[0])
        desks = [OpenLetters(engine) for engine in engines]
        await asyncio.gather(*(desk.add("mirror", "acme", given_up(offset)) for desk in desks for offset in range(5)))
        assert await counts(desks[0]) == {"acme": 5}
        originals = [Original("mirror", "servicetrade.changes", 3, offset) for offset in range(5)]
        await asyncio.gather(*(desk.remove_all(originals) for desk in desks))
        assert await counts(desks[0]) == {}
