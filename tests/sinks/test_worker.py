"""The worker on a real broker, with a sink that records."""

from __future__ import annotations

import asyncio

import pytest

from runtime.metrics import REGISTRY
from schemas.change import cloud_event_headers
from schemas.deadletter import read_dead_letter
from schemas.encoding import decode, encode
from schemas.errors import Reject, RetryLater
from schemas.topics import DEADLETTERS, DELIVERIES
from sinks.pauses import Pauses
from tests.sinks.support import Recorder, Topics, change, until, working

pytestmark = pytest.mark.anyio


async def test_an_entitys_changes_are_delivered_in_order_each_once_and_all_are_committed(topics: Topics) -> None:
    await topics.send(*(change(n, n % 7) for n in range(1, 71)))
    sink = Recorder()
    async with working(topics, sink) as worker:
        await topics.until_all_is_committed()
        assert worker.ready() == {"joined": True}
    for entity in range(7):
        assert sink.of(entity) == [n for n in range(1, 71) if n % 7 == entity]
    assert [row[2] for row in await topics.deliveries()] == ["delivered"] * 70


async def test_a_worker_that_has_not_joined_is_not_ready_and_stops_all_the_same(topics: Topics) -> None:
    async with working(topics, Recorder()) as worker:
        assert worker.ready() == {"joined": False}


async def test_an_entity_that_fails_holds_back_neither_the_others_nor_their_order(topics: Topics) -> None:
    sink = Recorder(steps={"1": [RetryLater("down") for _ in range(1000)]})
    await topics.send(*(change(n, n % 5) for n in range(1, 51)), partition=0)
    async with working(topics, sink, concurrency=2):
        await until(lambda: all(len(sink.of(entity)) == 10 for entity in (0, 2, 3, 4)))
        assert sink.of(1) == []
        assert {number for entity, number in sink.called if entity == "1"} == {1}
        # The first record of the partition has no outcome: a crash now must repeat it.
        assert await topics.lag() == 50
        sink.steps["1"].clear()
        await topics.until_all_is_committed()
    assert sink.of(1) == [1, 6, 11, 16, 21, 26, 31, 36, 41, 46]


async def test_a_failed_delivery_is_tried_until_it_works_and_says_how_often(topics: Topics) -> None:
    before = REGISTRY.get_sample_value("tradewind_delivery_retries_total", {"sink": "recorder"}) or 0
    sink = Recorder(steps={"1": [RetryLater("down"), RetryLater("slow down", after_s=0.02)]})
    await topics.send(change(1), change(2))
    async with working(topics, sink):
        await topics.until_all_is_committed()
    assert sink.called == [("1", 1), ("1", 1), ("1", 1), ("1", 2)]
    found = {
        row["sequence"][5:21]: row for row in (decode(one.value or b"") for one in await topics.records(DELIVERIES))
    }
    assert found[f"{1:016d}"]["attempts"] == 3
    assert found[f"{2:016d}"] == {
        "change_id": f"{2:032x}",
        "sequence": change(2).sequence,
        "account": "acme",
        "entity_type": "job",
        "entity_id": "1",
        "sink": "recorder",
        "outcome": "delivered",
        "reason": "",
        "attempts": 1,
        "latency_ms": found[f"{2:016d}"]["latency_ms"],
    }
    assert REGISTRY.get_sample_value("tradewind_delivery_retries_total", {"sink": "recorder"}) == before + 2


async def test_a_rejected_change_goes_to_the_dead_letters_untouched_and_the_next_one_is_delivered(
    topics: Topics,
) -> None:
    sink = Recorder(steps={"1": [RetryLater("once"), Reject("no permission")]})
    await topics.send(change(1), change(2))
    async with working(topics, sink):
        await topics.until_all_is_committed()
    (record,) = await topics.records(DEADLETTERS)
    assert (record.key, record.value) == (b"acme/job/1", encode(change(1)))
    original = cloud_event_headers(change(1))
    assert list(record.headers[: len(original)]) == original
    letter = read_dead_letter(record.headers)
    assert (letter.topic, letter.offset) == (topics.settings.topic_prefix + "servicetrade.changes", 0)
    assert (letter.stage, letter.error, letter.message) == ("recorder", "Reject", "no permission")
    assert letter.attempts == 2
    assert 0 < letter.first_failure_ms <= letter.last_failure_ms
    assert await topics.deliveries() == [("1", 1, "dead-lettered", "no permission"), ("1", 2, "delivered", "")]


async def test_a_record_that_is_no_change_goes_to_the_dead_letters_at_once(topics: Topics) -> None:
    strange = encode({**decode(encode(change(1))), "sequence": 7})
    for value in (b"{}", b"not json", b"", strange):
        await topics.send_raw(b"acme/job/1", value, [("trace", b"x")], partition=3)
    await topics.send(change(1), partition=3)
    sink = Recorder()
    async with working(topics, sink):
        await topics.until_all_is_committed()
    assert sink.of(1) == [1]
    letters = await topics.records(DEADLETTERS)
    assert sorted(record.value or b"" for record in letters) == sorted([b"{}", b"not json", b"", strange])
    assert {record.key for record in letters} == {b"acme/job/1"}
    assert {record.headers[0] for record in letters} == {("trace", b"x")}
    reasons = [read_dead_letter(record.headers) for record in letters]
    assert {(one.stage, one.error, one.attempts) for one in reasons} == {("recorder", "not-readable", 0)}
    assert sorted(one.offset for one in reasons) == [0, 1, 2, 3]


async def test_changes_of_one_entity_that_are_waiting_are_given_together(topics: Topics) -> None:
    busy = asyncio.Event()
    sink = Recorder(steps={"1": [busy]}, all_at_once=True)
    await topics.send(change(1), partition=0)
    async with working(topics, sink):
        await until(lambda: sink.called == [("1", 1)])
        # Another entity, later in the same partition: once it is delivered, the ones before it have been read.
        await topics.send(change(2), change(3), change(4), change(5, 2), partition=0)
        await until(lambda: sink.of(2) == [5])
        busy.set()
        await topics.until_all_is_committed()
    assert sink.called == [("1", 1), ("2", 5), ("1", 2)]
    assert sink.waiting == [1, 1, 3]
    assert sink.of(1) == [1, 2, 3, 4]


async def test_after_a_crash_what_was_not_committed_is_given_again_and_skipped(topics: Topics) -> None:
    sink = Recorder(steps={"1": [asyncio.Event()]})
    await topics.send(change(1, 1), change(2, 2), partition=0)

    async def crash() -> None:
        async with working(topics, sink, instance="same"):
            await topics.until_deliveries(1)
            sink.steps["3"] = [ZeroDivisionError("a fault of the sink")]
            await topics.send(change(3, 3))
            await until(lambda: ("3", 3) in sink.called)

    with pytest.raises(ExceptionGroup) as failure:
        await crash()
    assert failure.group_contains(ZeroDivisionError)
    assert await topics.lag() == 3
    async with working(topics, sink, instance="same"):
        await topics.until_all_is_committed()
    assert sorted(sink.delivered) == [("1", 1), ("2", 2), ("3", 3)]
    rows = await topics.deliveries()
    assert rows.count(("2", 2, "delivered", "")) == 1
    assert rows.count(("2", 2, "skipped", "already delivered")) == 1


async def test_a_stopped_worker_finishes_what_the_sink_was_called_for_and_leaves_the_rest(topics: Topics) -> None:
    stop = asyncio.Event()  # the call goes on until after the worker was told to stop
    sink = Recorder(steps={"1": [stop], "2": [RetryLater("down")]})
    await topics.send(change(1, 1), change(2, 2), change(3, 1), partition=0)
    async with working(topics, sink, stop=stop, pauses=Pauses(first_s=3600, longest_s=3600)):
        await until(lambda: len(sink.called) == 2)
    assert sink.delivered == [("1", 1)]
    assert await topics.deliveries() == [("1", 1, "delivered", "")]
    assert await topics.lag() == 2


async def test_a_call_that_outlasts_the_drain_is_given_up_and_not_committed(topics: Topics) -> None:
    sink = Recorder(steps={"1": [asyncio.Event()]})
    await topics.send(change(1, 1), change(2, 2), partition=0)
    async with working(topics, sink, drain_s=0.05):
        await until(lambda: sink.of(2) == [2])
    assert sink.of(1) == []
    assert await topics.lag() == 2


async def test_reading_pauses_while_too_much_of_a_partition_is_uncommitted_and_goes_on_afterwards(
    topics: Topics,
) -> None:
    gate = asyncio.Event()
    sink = Recorder(steps={"0": [gate]})
    await topics.send(change(1, 0), partition=0)
    async with working(topics, sink, most_uncommitted=1):
        await until(lambda: sink.called == [("0", 1)])
        await topics.send(change(2, 1), partition=0)
        await topics.send(change(3, 2), partition=1)
        await until(lambda: sink.of(2) == [3])
        assert sink.of(1) == []
        gate.set()
        await topics.until_all_is_committed()
    assert sink.of(1) == [2]


async def test_reading_pauses_while_too_many_changes_are_in_memory_and_goes_on_afterwards(topics: Topics) -> None:
    gate = asyncio.Event()
    sink = Recorder(steps={str(n): [gate] for n in range(10)})
    await topics.send(*(change(n + 1, n) for n in range(10)))
    async with working(topics, sink, most_in_memory=3):
        await until(lambda: len(sink.called) == 3)
        gate.set()
        await topics.until_all_is_committed()
    assert len(sink.delivered) == 10


async def test_when_another_worker_joins_no_change_is_lost_or_overtaken_and_each_works_on_its_own(
    topics: Topics,
) -> None:
    # What is already delivered is remembered by both, as in one store: a change that is overtaken would be missing.
    sink = Recorder(steps={"0": [RetryLater("down") for _ in range(10_000)]})
    other = Recorder(delivered=sink.delivered, last=sink.last)
    await topics.send(*(change(n, n % 20) for n in range(1, 101)))
    async with working(topics, sink, instance="one"):
        await until(lambda: len(sink.delivered) == 95)
        async with working(topics, other, instance="two") as second:
            await until(lambda: second.ready()["joined"])
            sink.steps["0"].clear()
            await topics.send(*(change(n, n % 20) for n in range(101, 201)))
            await topics.until_all_is_committed()
    for entity in range(20):
        assert sink.of(entity) == [n for n in range(1, 201) if n % 20 == entity]
    assert {number for _, number in sink.called} & set(range(101, 201))
    assert {number for _, number in other.called} & set(range(101, 201))
