"""A worker that has work and does not move ends itself; one that is idle, slow, or without a broker does not."""

from __future__ import annotations

import asyncio

import pytest

from processors.engine import Engine
from processors.watchdog import Stalls
from runtime.kafka import LogReader
from runtime.metrics import REGISTRY
from runtime.settings import KafkaSettings, ProcessorsSettings
from schemas.errors import ProcessorsError
from schemas.topics import WEBHOOKS
from tests.processors.pipeline import TIMES, group_of, pipeline_on


async def never_asked(_: object) -> bool:
    raise AssertionError


def looked(*standing: dict[str, int], every_s: float = 4) -> list[str | None]:
    stalls = Stalls(10)
    return [stalls.look(100 + number * every_s, each) for number, each in enumerate(standing)]


def test_what_stands_still_for_longer_than_the_time_out_is_named() -> None:
    assert looked({"a": 5}, {"a": 5}, {"a": 5}) == [None, None, None]
    assert looked({"a": 5}, {"a": 5}, {"a": 5}, {"a": 5}) == [None, None, None, "a"]


def test_whoever_moves_however_slowly_is_left_alone() -> None:
    assert set(looked(*({"a": number // 2} for number in range(40)))) == {None}


def test_one_partition_that_stands_still_is_not_hidden_by_the_others() -> None:
    assert looked(*({"a": number, "b": 7} for number in range(5)))[3:] == ["b", "b"]


def test_time_begins_when_something_falls_behind_not_when_it_last_moved() -> None:
    idle: list[dict[str, int]] = [{}] * 9
    assert looked(*idle, {"a": 5}, {"a": 5}, {"a": 5}) == [None] * 12


def test_a_process_that_was_frozen_is_given_its_time_anew() -> None:
    stalls = Stalls(10)
    assert stalls.look(100, {"a": 5}) is None
    assert stalls.look(160, {"a": 5}) is None
    assert stalls.look(164, {"a": 5}) is None


@pytest.mark.anyio
@pytest.mark.parametrize("assigned", [True, False], ids=["no batch comes", "no assignment comes"])
async def test_an_engine_that_is_given_nothing_although_there_is_something_ends_with_a_sentence(
    kafka: KafkaSettings, *, assigned: bool
) -> None:
    async with pipeline_on(kafka) as pipeline, LogReader.open(kafka, client_id="test") as reader:
        topic = kafka.topic_prefix + WEBHOOKS.name
        for number in (0, 1):
            await pipeline.raw(b"acme", b"{}", partition=number)
        settings = ProcessorsSettings(group=group_of(kafka), stall_timeout_s=1)
        engine = Engine(kafka, TIMES, settings=settings, producer=pipeline.producer, reader=reader, commit=never_asked)
        running = asyncio.create_task(engine.run())
        if assigned:
            await engine.on_assigned(frozenset(await reader.partitions(topic)))
        async with asyncio.timeout(60):
            with pytest.raises(ExceptionGroup) as caught:
                await running
        (error,) = caught.value.exceptions
        assert isinstance(error, ProcessorsError)
        if assigned:
            assert REGISTRY.get_sample_value("tradewind_lag_records") == 2
            assert (REGISTRY.get_sample_value("tradewind_lag_seconds") or 0) > 0
        what = f"{topic}[" if assigned else "the rebalance"
        assert str(error).startswith(what)
        assert str(error).endswith("has not moved for 1 s, although the broker answers")


@pytest.mark.anyio
async def test_an_engine_that_has_consumed_everything_may_stand_still(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka) as pipeline, LogReader.open(kafka, client_id="test") as reader:
        settings = ProcessorsSettings(group=group_of(kafka), stall_timeout_s=0.2)
        engine = Engine(kafka, TIMES, settings=settings, producer=pipeline.producer, reader=reader, commit=never_asked)
        running = asyncio.create_task(engine.run())
        try:
            await engine.on_assigned(frozenset(await reader.partitions(kafka.topic_prefix + WEBHOOKS.name)))
            done, _ = await asyncio.wait({running}, timeout=2)
            assert not done
        finally:
            running.cancel()
            await asyncio.wait({running})
