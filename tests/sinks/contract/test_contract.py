"""The one contract that every sink keeps: through the real worker, on the real broker, with a real other side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from runtime.database import open_database
from runtime.kafka import Producer
from runtime.settings import KafkaSettings, StoreSettings
from runtime.store_schema import upgrade
from schemas.deadletter import read_dead_letter
from schemas.topics import DEADLETTERS
from sinks.steps import WORKER_STEPS
from tests.servicetrade.postgres import new_database
from tests.sinks.contract.crash import Crash, CrashAt
from tests.sinks.contract.sinks_adapter import Adapter, Item
from tests.sinks.contract.sinks_api import CommandAdapter, MirrorAdapter
from tests.sinks.contract.sinks_http import CustomAdapter, ForwardAdapter
from tests.sinks.contract.sinks_stage import DEADLINE_S, Held, Stage, running, until

pytestmark = [pytest.mark.anyio, pytest.mark.containers]

SINKS: dict[str, type[Adapter]] = {
    "mirror-sqlite": MirrorAdapter,
    "mirror-postgresql": MirrorAdapter,
    "command": CommandAdapter,
    "forward": ForwardAdapter,
    "custom": CustomAdapter,
}
# The worker's own steps in Kafka are the same for the mirror on either database.
KAFKA_ONLY = {"mirror-postgresql": {"given", "reported", "committing", "committed"}}
CRASHES = [
    (name, step)
    for name, adapter in SINKS.items()
    for step in (*WORKER_STEPS, *adapter.steps)
    if step not in KAFKA_ONLY.get(name, ())
]
AT_ONCE = {"park_after_s": 0.0, "park_entity_after_s": 0.0}


@pytest.fixture(params=SINKS)
async def stage(
    request: pytest.FixtureRequest, kafka: KafkaSettings, sqlite_settings: StoreSettings
) -> AsyncIterator[Stage]:
    settings = sqlite_settings
    if request.param.endswith("postgresql"):
        settings = StoreSettings(url=await new_database(), key=settings.key)
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer.open(kafka, client_id="test"))
        database = await stack.enter_async_context(open_database(settings))
        await upgrade(database)
        adapter = SINKS[request.param](database, settings.key)
        await adapter.open(stack)
        found = Stage(kafka, producer, adapter)
        await found.prepare(stack)
        yield found


def items(adapter: Adapter, first: int = 1, last: int = 7) -> list[Item]:
    """Three entities in turn."""
    return [adapter.item(number % 3, number) for number in range(first, last + 1)]


async def test_the_same_records_again_have_no_second_effect(stage: Stage) -> None:
    sent = items(stage.adapter)
    # To a process that has just acted on them, and to one that finds in the store what another one did.
    for records, copies in (([*sent, *sent], 2), (sent, 3)):
        async with stage.working():
            await stage.send(*records)
            await until(stage.all_done)
        await stage.check(sent, copies=copies)


async def test_each_entity_keeps_its_order_however_they_interleave_and_whatever_fails_for_now(stage: Stage) -> None:
    sent = items(stage.adapter, last=9)
    await stage.send(*sent[:5])
    async with stage.working():
        await stage.adapter.fail(2)
        await stage.send(*sent[5:])
        await until(stage.all_done)
    await stage.check(sent)


async def test_what_fails_for_now_is_tried_again_until_it_works(stage: Stage) -> None:
    sent = items(stage.adapter, last=3)
    await stage.adapter.fail(4)
    await stage.send(*sent)
    async with stage.working():
        await until(stage.all_done)
    assert await stage.adapter.failures() == 4
    await stage.check(sent)
    assert not await stage.records(DEADLETTERS)


async def test_what_is_refused_is_one_dead_letter_and_holds_up_nobody(stage: Stage) -> None:
    sent, refused = items(stage.adapter), stage.adapter.refused(100)
    async with stage.working():
        await stage.send(*sent[:3], refused, *sent[3:], partition=0)
        await until(stage.all_done)
    await stage.check(sent)
    (letter,) = await stage.records(DEADLETTERS)
    assert (letter.key, letter.value) == (refused.key, refused.value)
    assert letter.headers[: len(refused.headers)] == refused.headers
    reason = read_dead_letter(letter.headers)
    assert (reason.stage, reason.error, reason.partition, reason.offset) == (stage.adapter.name, "Reject", 0, 3)


async def test_what_the_other_side_is_away_for_comes_back_in_order(stage: Stage) -> None:
    adapter, sent = stage.adapter, items(stage.adapter)
    await adapter.leave()
    async with stage.working(**AT_ONCE):
        await stage.send(*sent[:4])
        if adapter.parks:
            await until(lambda: parked(stage, 4))
        await stage.send(*sent[4:])
        if adapter.parks:
            await until(lambda: parked(stage, 7))
            await until(lambda: lags(stage, 0))
        else:
            await until(lambda: failed(stage, 5))
            assert (await stage.parked(), await stage.lag()) == (0, 7)
        assert not await adapter.effects()
        await adapter.come_back()
        await until(stage.all_done)
        later = items(adapter, 8, 10)
        await stage.send(*later)
        await until(stage.all_done)
    await stage.check([*sent, *later])
    assert not await stage.records(DEADLETTERS)


async def test_a_worker_that_is_stopped_finishes_what_the_sink_was_called_for_and_leaves_the_rest(
    stage: Stage,
) -> None:
    adapter, sent = stage.adapter, items(stage.adapter)
    async with adapter.sink(lambda _: None) as sink:
        held = Held(sink)
        async with running(stage.worker(held, concurrency=1)) as stop:
            await stage.send(sent[0])
            await until(lambda: called(held))
            await stage.send(*sent[1:])
            stop.set()
            held.pass_on.release()
    assert [number for _, number in await adapter.effects()] == [1]
    assert await stage.lag() == len(sent) - 1
    async with stage.working():
        await until(stage.all_done)
    await stage.check(sent)


@pytest.mark.parametrize(("stage", "step"), CRASHES, indirect=["stage"])
async def test_a_worker_that_crashes_at_any_step_loses_nothing_and_the_next_one_goes_on(
    stage: Stage, step: str
) -> None:
    adapter, sent, at = stage.adapter, items(stage.adapter), CrashAt(step)
    parking = step in ("parked", "unparked")
    # One record at a time, so that some have been appended before a read began, and arrive after it.
    most_in_memory = 1 if step == "noted" else 2000
    await adapter.arrange(step)
    refused = [adapter.refused(100)] if step == "buried" else []
    await stage.send(*sent[:3], *refused, *sent[3:])
    if parking:
        await adapter.leave(entities=True)
    async with adapter.sink(at) as sink, asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        if step == "unparked":
            tasks.create_task(come_back_when_parked(stage, at))
        worker = stage.worker(sink, at, most_in_memory=most_in_memory, **(AT_ONCE if parking else {}))
        with pytest.raises(ExceptionGroup) as failure:
            await worker.run(asyncio.Event())
    assert failure.group_contains(Crash)
    await adapter.come_back()
    async with stage.working():
        await until(stage.all_done)
    await stage.check(sent, crashed=True)
    letters = {(one.key, one.value) for one in await stage.records(DEADLETTERS)}
    assert letters == {(one.key, one.value) for one in refused}


async def come_back_when_parked(stage: Stage, at: CrashAt) -> None:
    async def settled() -> bool:
        return at.crashed or await stage.lag() == 0

    await until(settled)
    await stage.adapter.come_back()


async def parked(stage: Stage, count: int) -> bool:
    return await stage.parked() == count


async def lags(stage: Stage, count: int) -> bool:
    return await stage.lag() == count


async def failed(stage: Stage, at_least: int) -> bool:
    return await stage.adapter.failures() >= at_least


async def called(held: Held) -> bool:
    return len(held.called) == 1
