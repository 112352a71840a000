"""Order while things are put aside and come back: at the worst moments, over crashes, and when partitions move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sinks.pauses import Pauses
from tests.sinks.contract.crash import Crash, CrashAt
from tests.sinks.contract.moody import Moody, down, parked, until_lag, until_parked
from tests.sinks.support import Topics, change, until, working

pytestmark = pytest.mark.anyio

LIMITS: dict[str, Any] = {"park_after_s": 0.0, "park_entity_after_s": 3600.0}


@asynccontextmanager
async def nobody_else_writes(topics: Topics) -> AsyncIterator[None]:
    """Whoever wants to write into the store waits until the end of the block."""
    async with topics.database.begin():
        yield


async def until_read(topics: Topics, sink: Moody, number: int) -> None:
    """All that was sent to partition 0 before has been taken in by the worker."""
    await topics.send(change(number, 99, account="bolt"), partition=0)
    await until(lambda: number in sink.of(99))


async def test_what_a_busy_entity_leaves_behind_does_not_come_back_after_what_was_put_aside_later(
    topics: Topics,
) -> None:
    gate = asyncio.Event()
    sink = Moody(failing={"acme/job/2": down("account")}, gates={"acme/job/1": gate})
    await topics.send(change(1), change(2), change(3), partition=0)
    async with working(topics, sink, **LIMITS):
        await until(lambda: sink.began == ["acme/job/1"])
        await topics.send(change(4, 2), change(5), partition=0)
        await until_parked(topics, {"acme": 2})
        sink.failing.clear()
        await until_parked(topics, {"acme": 1})
        async with nobody_else_writes(topics):
            await topics.send(change(6, 3), partition=0)
            await until_read(topics, sink, 7)
            gate.set()
            await until(lambda: sink.of(1) == [1])
            await topics.until_deliveries(3)
        await until_parked(topics, {})
        await topics.until_all_is_committed()
    assert sink.of(1) == [1, 2, 3, 5]


async def test_what_an_entity_gets_while_it_is_given_a_place_of_its_own_does_not_overtake_what_is_there(
    topics: Topics,
) -> None:
    gate = asyncio.Event()
    sink = Moody(failing={"acme": down("account")}, gates={})
    await topics.send(change(1, 2), change(2, 1), partition=0)
    async with working(topics, sink, **LIMITS):
        await until_parked(topics, {"acme": 2})
        sink.gates["acme/job/1"] = gate
        sink.began.clear()
        sink.failing = {"acme/job/1#2": down()}
        await until(lambda: sink.began[-1:] == ["acme/job/1"])  # the other one, before it, is delivered
        async with nobody_else_writes(topics):
            await topics.send(change(3, 3), partition=0)
            await until_read(topics, sink, 4)
            await topics.send(change(5, 1), partition=0)
            await until_read(topics, sink, 6)
            failed = sink.called.count(("1", 2))
            gate.set()
            await until(lambda: sink.called.count(("1", 2)) > failed)
        await topics.send(change(7, 7), partition=0)
        await until(lambda: sink.of(7) == [7])
        assert sink.of(1) == []
        sink.failing.clear()
        await until_parked(topics, {})
        await topics.until_all_is_committed()
    assert sink.of(1) == [2, 5]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", ["parked", "unparked"])
async def test_a_worker_that_crashes_in_the_middle_loses_and_reorders_nothing(
    topics: Topics, step: str, nth: int
) -> None:
    sink = Moody(failing={"acme": down("account")})
    at = CrashAt(step, nth)

    async def work() -> None:
        async with working(topics, sink, at=at, **LIMITS):
            for sent in (20, 40):
                await topics.send(*(change(n, n % 4) for n in range(sent - 19, sent + 1)))
                while not at.crashed and await parked(topics) != {"acme": sent}:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
            sink.failing.clear()
            await until(lambda: at.crashed)

    with pytest.raises(ExceptionGroup) as failure:
        async with asyncio.timeout(30):
            await work()
    assert failure.group_contains(Crash)
    sink.failing = {"acme": down("account")}
    async with working(topics, sink, **LIMITS):
        await until_lag(topics, 0)
        sink.failing.clear()
        await until_parked(topics, {})
    for entity in range(4):
        assert sink.of(entity) == [number for number in range(1, 41) if number % 4 == entity]


async def test_partitions_that_move_while_things_are_put_aside_and_come_back_lose_and_reorder_nothing(
    topics: Topics,
) -> None:
    first = Moody(failing={"acme": down("account"), "bolt/job/5": down()})
    # What is delivered is remembered by all, as in one store: a change that is overtaken would be missing.
    shared = {"delivered": first.delivered, "last": first.last, "failing": first.failing}
    second, third = Moody(**shared), Moody(**shared)  # type: ignore[arg-type]
    how: dict[str, Any] = {"park_after_s": 0.0, "park_entity_after_s": 0.0, "hand_over_s": 0.5}
    pauses = Pauses(first_s=0.01, longest_s=0.2)

    async def send(begin: int, end: int) -> None:
        await topics.send(*(change(n, n % 20, account="acme" if n % 20 < 15 else "bolt") for n in range(begin, end)))

    async with working(topics, first, instance="one", pauses=pauses, **how):
        await send(1, 101)
        await until_parked(topics, {"acme": 75})
        async with working(topics, second, instance="two", pauses=pauses, **how) as two:
            await send(101, 201)
            await until(lambda: two.ready()["joined"])
            await send(201, 301)
            async with working(topics, third, instance="three", pauses=pauses, **how) as three:
                first.failing.clear()
                await until(lambda: three.ready()["joined"])
                await send(301, 401)
                await until_parked(topics, {})
                await topics.until_all_is_committed()
    for entity in range(20):
        assert first.of(entity) == [number for number in range(1, 401) if number % 20 == entity]
