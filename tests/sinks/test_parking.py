"""What is in trouble is put aside, so that the log goes on without it, and comes back by itself and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.change import EntityChange
from schemas.encoding import encode
from schemas.errors import RetryLater
from schemas.topics import CHANGES, REDRIVE_TO_HEADER
from sinks.pauses import Pauses
from tests.sinks.contract.moody import Moody, down, parked, until_lag, until_parked
from tests.sinks.support import QUICK, Topics, change, until, working

pytestmark = pytest.mark.anyio

PATIENT = Pauses(first_s=3600, longest_s=3600)
AT_ONCE: dict[str, Any] = {"park_after_s": 0.0, "park_entity_after_s": 3600.0}
NEVER: dict[str, Any] = {"park_after_s": 3600.0, "park_entity_after_s": 3600.0}


def of_acme(first: int, last: int) -> list[int]:
    """Entities 0 to 3 belong to acme, 4 to 7 to bolt."""
    return [number for number in range(first, last + 1) if number % 8 < 4]


def changes(first: int, last: int, **more: Any) -> list[EntityChange]:
    return [change(n, n % 8, account="acme" if n % 8 < 4 else "bolt", **more) for n in range(first, last + 1)]


def assert_each_once_in_order(sink: Moody, last: int) -> None:
    for entity in range(8):
        assert sink.of(entity) == [number for number in range(1, last + 1) if number % 8 == entity]


async def test_an_account_in_trouble_is_put_aside_and_comes_back_in_order_while_the_others_go_on(
    topics: Topics,
) -> None:
    sink = Moody(failing={"acme": down("account")})
    await topics.send(*changes(1, 40))
    async with working(topics, sink, **AT_ONCE):
        await until_parked(topics, {"acme": len(of_acme(1, 40))})
        await until(lambda: len(sink.delivered) == 40 - len(of_acme(1, 40)))
        await until_lag(topics, 0)
        await topics.send(*changes(41, 80))
        await until_parked(topics, {"acme": len(of_acme(1, 80))})
        await until_lag(topics, 0)
        assert not {number for _, number in sink.delivered} & set(of_acme(1, 80))
        sink.failing.clear()
        await until(lambda: len(sink.delivered) == 80)
        await until_parked(topics, {})
        await topics.send(*changes(81, 100))
        await topics.until_all_is_committed()
    assert_each_once_in_order(sink, 100)
    assert [row[2] for row in await topics.deliveries()] == ["delivered"] * 100


async def test_an_account_stays_put_aside_over_a_restart(topics: Topics) -> None:
    sink = Moody(failing={"acme": down("account")})
    await topics.send(*changes(1, 16))
    async with working(topics, sink, **AT_ONCE):
        await until_parked(topics, {"acme": 8})
        await until_lag(topics, 0)
    async with working(topics, sink, **AT_ONCE):
        await topics.send(*changes(17, 32))
        await until_parked(topics, {"acme": 16})
        await until_lag(topics, 0)
    sink.failing.clear()
    async with working(topics, sink, **AT_ONCE):
        await until(lambda: len(sink.delivered) == 32)
        await until_parked(topics, {})
    assert_each_once_in_order(sink, 32)
    assert [row[2] for row in await topics.deliveries()] == ["delivered"] * 32


async def test_an_account_is_tried_with_one_change_at_a_time_while_it_is_put_aside(topics: Topics) -> None:
    sink = Moody(failing={"acme": down("account")})
    await topics.send(*changes(1, 16))
    async with working(topics, sink, **AT_ONCE):
        await until_parked(topics, {"acme": 8})
        await until_lag(topics, 0)
        before = len(sink.called)
        await until(lambda: len(sink.called) > before + 5)
        assert len(set(sink.called[before:])) == 1
        sink.failing.clear()
        await until_parked(topics, {})


async def test_an_entity_that_fails_alone_is_put_aside_alone(topics: Topics) -> None:
    sink = Moody(failing={"acme/job/1": down()})
    await topics.send(*changes(1, 40))
    async with working(topics, sink, park_entity_after_s=0.0):
        await until_parked(topics, {"acme": 5})
        await until_lag(topics, 0)
        await topics.send(*changes(41, 80))
        await until_parked(topics, {"acme": 10})
        await until_lag(topics, 0)
        assert [sink.of(entity) == [] for entity in range(8)] == [entity == 1 for entity in range(8)]
        sink.failing.clear()
        await until_parked(topics, {})
    assert_each_once_in_order(sink, 80)


async def test_entities_that_fail_one_like_the_other_are_their_accounts_trouble(topics: Topics) -> None:
    sink = Moody(failing={"acme": down()})
    await topics.send(*(change(n, n) for n in range(1, 21)), *(change(n, n, account="bolt") for n in range(21, 31)))
    async with working(topics, sink, **AT_ONCE):
        await until_parked(topics, {"acme": 20})
        await until(lambda: len(sink.delivered) == 10)
        sink.failing.clear()
        await until_parked(topics, {})
    assert sorted(number for _, number in sink.delivered) == list(range(1, 31))


@pytest.mark.parametrize(("scope", "aside"), [("account", 8), ("entity", 2)])
async def test_what_will_not_pass_soon_is_put_aside_after_the_first_failure(
    topics: Topics, scope: str, aside: int
) -> None:
    failing = {"acme": down("account", lasting=True)} if scope == "account" else {"acme/job/1": down(lasting=True)}
    sink = Moody(failing=failing)
    await topics.send(*changes(1, 16), partition=0)
    async with working(topics, sink, pauses=PATIENT, account_concurrency=1, **NEVER):
        await until_parked(topics, {"acme": aside})
        await until_lag(topics, 0)
    assert len(sink.called) - len(sink.delivered) == 1
    sink.failing.clear()
    async with working(topics, sink):
        await until_parked(topics, {})
    assert_each_once_in_order(sink, 16)


async def test_an_entity_that_fails_while_its_account_comes_back_gets_a_place_of_its_own(topics: Topics) -> None:
    sink = Moody(failing={"acme": down("account")})
    await topics.send(*changes(1, 40))
    async with working(topics, sink, **AT_ONCE):
        await until_parked(topics, {"acme": 20})
        sink.failing = {"acme/job/2": down()}
        await until_parked(topics, {"acme": 5})
        await topics.send(*changes(41, 80))
        await until_parked(topics, {"acme": 10})
        await until_lag(topics, 0)
        assert [sink.of(entity) == [] for entity in range(8)] == [entity == 2 for entity in range(8)]
        sink.failing.clear()
        await until_parked(topics, {})
    assert_each_once_in_order(sink, 80)
    assert [row[2] for row in await topics.deliveries()] == ["delivered"] * 80


async def test_what_holds_up_reading_is_put_aside_at_once(topics: Topics) -> None:
    sink = Moody(failing={"acme/job/1": down()})
    await topics.send(*changes(1, 80), partition=0)
    async with working(topics, sink, most_uncommitted=10, **NEVER):
        await until_parked(topics, {"acme": 10})
        await until_lag(topics, 0)
        sink.failing.clear()
        await until_parked(topics, {})
    assert_each_once_in_order(sink, 80)


async def test_an_account_that_holds_up_reading_is_put_aside_at_once(topics: Topics) -> None:
    sink = Moody(failing={"acme": down("account")})
    await topics.send(*changes(1, 80))
    async with working(topics, sink, most_in_memory=10, **NEVER):
        await until_parked(topics, {"acme": 40})
        await until_lag(topics, 0)
        sink.failing.clear()
        await until_parked(topics, {})
    assert_each_once_in_order(sink, 80)


@pytest.mark.parametrize("fate", ["account", "sink"])
async def test_trouble_of_the_whole_sink_puts_nothing_aside_and_the_log_holds_everything(
    topics: Topics, fate: str
) -> None:
    # Where all that is delivered shares one fate, several entities that fail are the sink's trouble.
    sink = Moody(fate="sink" if fate == "sink" else "account")
    sink.failing = {"acme": down("sink" if fate == "account" else "entity")}
    await topics.send(*(change(n, n) for n in range(1, 21)))
    async with working(topics, sink, most_uncommitted=3, park_after_s=0.0, park_entity_after_s=3600.0):
        await until(lambda: len(sink.called) > 30)
        assert await parked(topics) == {}
        assert await topics.lag() == 20
        sink.failing.clear()
        await topics.until_all_is_committed()
    assert await parked(topics) == {}
    assert sorted(number for _, number in sink.delivered) == list(range(1, 21))


async def test_what_was_redriven_to_another_sink_is_passed_over(topics: Topics) -> None:
    async def redriven(number: int, to: bytes) -> None:
        one = change(number)
        await topics.send_raw(one.key.encode(), encode(one), [(REDRIVE_TO_HEADER, to)], 0)

    sink = Moody(failing={"acme": down("account")})
    await redriven(1, b"another")
    await redriven(2, b"recorder")
    async with working(topics, sink, **AT_ONCE):
        await until_parked(topics, {"acme": 1})
        await until_lag(topics, 0)
        sink.failing.clear()
        await until_parked(topics, {})
    assert sink.of(1) == [2]
    # It is one that a person wants delivered, also after it was put aside.
    assert set(sink.again) == {2}
    assert [record.value for record in await topics.records(CHANGES)] == [encode(change(1)), encode(change(2))]


async def test_an_entity_that_fails_alone_is_put_aside_whatever_its_error_blames(topics: Topics) -> None:
    sink = Moody(failing={"acme/job/1": down("account"), "bolt/job/5": down("sink")})
    how: dict[str, Any] = {"park_after_s": 3600.0, "park_entity_after_s": 0.3, "pauses": QUICK}
    async with working(topics, sink, **how):
        number = 0
        async with asyncio.timeout(60):
            while await parked(topics) != {"acme": 1, "bolt": 1}:
                for entity in (1, 2, 5, 6) if number == 0 else (2, 6):  # the others are well all the time
                    number += 1
                    await topics.send(change(number, entity, account="acme" if entity < 4 else "bolt"), partition=0)
        await until_lag(topics, 0)
        sink.failing.clear()
        await until_parked(topics, {})
    assert (len(sink.of(1)), len(sink.of(5))) == (1, 1)


async def test_a_retry_after_is_kept_although_a_call_from_before_succeeds(topics: Topics) -> None:
    gate = asyncio.Event()
    sink = Moody(failing={"acme/job/1": lambda: RetryLater("slow down", after_s=3600.0, scope="account")})
    sink.gates["acme/job/2"] = gate
    await topics.send(change(1, 2), partition=0)
    async with working(topics, sink, **NEVER):
        await until(lambda: sink.began == ["acme/job/2"])
        await topics.send(change(2, 1), partition=0)
        await until(lambda: ("1", 2) in sink.called)
        gate.set()
        await until(lambda: sink.of(2) == [1])
        await topics.send(change(3, 3), change(4, 7, account="bolt"), partition=0)
        await until(lambda: sink.of(7) == [4])
        await topics.until_deliveries(2)
    assert sink.called == [("1", 2), ("2", 1), ("7", 4)]
