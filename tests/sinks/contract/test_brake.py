"""What stops a sink: too many dead letters of an account put it aside, and of most accounts halt it; so does a Halt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.change import EntityChange
from schemas.errors import Halt, Reject
from schemas.topics import CHANGES, DEADLETTERS
from tests.sinks.contract.moody import Moody, until_lag, until_parked
from tests.sinks.support import Topics, change, until, working

pytestmark = pytest.mark.anyio


def poison() -> Exception:
    return Reject("poisoned")


def of(account: str, numbers: range) -> list[EntityChange]:
    """Each of an entity of its own."""
    return [change(number, number, account=account) for number in numbers]


async def until_halted(topics: Topics) -> str:
    async with asyncio.timeout(30):
        while (reason := await topics.stores.halts.of("recorder")) is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    return reason


async def letters(topics: Topics) -> int:
    return len(await topics.records(DEADLETTERS))


async def deal_with_letters(topics: Topics, count: int) -> None:
    found = await topics.records(CHANGES)
    for record in [one for one in found if (one.key or b"").startswith(b"acme/")][:count]:
        await topics.stores.letters.remove("recorder", record.topic, record.partition, record.offset)


@pytest.mark.parametrize("entities", [12, 1], ids=["entities", "one-entity"])
async def test_an_account_with_too_many_dead_letters_is_put_aside_until_somebody_has_dealt_with_them(
    topics: Topics, entities: int
) -> None:
    sink = Moody(failing={"acme": poison}, all_at_once=True)
    await topics.send(*(change(n, n % entities) for n in range(1, 13)), partition=0)
    await topics.send(*of("bolt", range(21, 31)))
    limits: dict[str, Any] = {"dead_letter_cap": 3, "account_concurrency": 1, "accounts": ("acme", "bolt", "crew")}
    async with working(topics, sink, **limits):
        await until_parked(topics, {"acme": 9})
        await until_lag(topics, 0)
        assert len(sink.delivered) == 10
        assert await letters(topics) == 3
        # One more may go wrong, and does.
        record = next(one for one in await topics.records(CHANGES) if one.partition == 0)
        await topics.stores.letters.remove("recorder", record.topic, record.partition, record.offset)
        await until_parked(topics, {"acme": 8})
        assert await letters(topics) == 4
        sink.failing.clear()
        for offset in range(4):
            await topics.stores.letters.remove("recorder", record.topic, 0, offset)
        await until_parked(topics, {})
        await topics.send(*of("acme", range(41, 51)))
        await topics.until_all_is_committed()
    assert [number for _, number in sink.delivered if number < 20] == list(range(5, 13))
    assert len(sink.delivered) == 10 + 8 + 10
    assert await letters(topics) == 4


async def test_where_most_accounts_have_too_many_dead_letters_the_sink_halts_until_a_person_resumes_it(
    topics: Topics,
) -> None:
    sink = Moody(failing={"acme": poison, "bolt": poison})
    await topics.send(*of("acme", range(1, 11)), *of("bolt", range(11, 21)))
    limits: dict[str, Any] = {"dead_letter_cap": 2, "account_concurrency": 1, "accounts": ("acme", "bolt", "crew")}
    async with working(topics, sink, **limits) as worker:
        assert "dead letters" in await until_halted(topics)
        await until(lambda: not worker.shown()["recorder delivers"])
        await until_parked(topics, {"acme": 8, "bolt": 8})
        assert await letters(topics) == 4
        await topics.send(*of("crew", range(21, 26)))
        sink.failing.clear()
        for record in await topics.records(CHANGES):
            await topics.stores.letters.remove("recorder", record.topic, record.partition, record.offset)
        assert sink.delivered == []
        assert await topics.stores.halts.resume("recorder")
        await until(lambda: len(sink.delivered) == 21)
        await topics.until_all_is_committed()
        await until_parked(topics, {})
        assert worker.shown()["recorder delivers"]


async def test_a_sink_that_halts_delivers_nothing_in_any_process_until_a_person_resumes_it(topics: Topics) -> None:
    sink = Moody()
    sink.steps = {"1": [Halt("410 Gone")]}
    await topics.send(change(1, 1), change(2, 1))
    async with working(topics, sink) as worker:
        assert await until_halted(topics) == "410 Gone"
        await until(lambda: not worker.shown()["recorder delivers"])
        await topics.send(change(3, 2))
    assert sink.delivered == []
    async with working(topics, sink) as worker:
        await until(lambda: not worker.shown()["recorder delivers"])
        await until(lambda: worker.ready()["joined"])
        assert sink.delivered == []
        assert await topics.stores.halts.resume("recorder")
        await topics.until_all_is_committed()
    assert sorted(sink.delivered) == [("1", 1), ("1", 2), ("2", 3)]
    assert await letters(topics) == 0
