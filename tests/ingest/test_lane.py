"""A lane against brokers that answer late, never, or wrongly: nothing accepted is missing, and order is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.lane import Lane
from ingest.spool import Spool
from ingest.webhook import Receipts, Webhook
from runtime.kafka import BatchRecord
from runtime.settings import SpoolSettings
from schemas.topics import RECEIPT_HEADER

pytestmark = pytest.mark.anyio

ACK_TIMEOUT_S = 0.02
BATCH_RECORDS = 5
HUGE = b"huge"

Behaviour = Literal["answers", "stands still", "fails", "appends and fails"]


class Broker:
    """What a lane sees of Kafka: one batch at a time, appended whole or not at all."""

    def __init__(self) -> None:
        self.log: list[tuple[bytes, bytes]] = []
        """Receipt and body of every record that was appended."""
        self.unknown = 0
        """Batches that were appended although the lane was told that they failed."""
        self._behaviour: Behaviour = "answers"
        self._changed = asyncio.Event()

    def behave(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._changed.set()
        self._changed = asyncio.Event()

    async def connect(self) -> None:
        """There is always a connection."""

    @asynccontextmanager
    async def turn(self, _: int) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        yield

    def pack(self, records: Iterable[BatchRecord]) -> tuple[list[BatchRecord], int]:
        batch = []
        for record in records:
            batch.append(record)
            if len(batch) == BATCH_RECORDS:
                break
        return batch, len(batch)

    async def append(self, _: int, batch: list[BatchRecord]) -> None:
        await asyncio.sleep(0)
        while self._behaviour == "stands still":
            await self._changed.wait()
        if any(body == HUGE for _, body, _ in batch):
            raise MessageSizeTooLargeError
        if self._behaviour == "fails":
            raise KafkaConnectionError
        self.log += [(dict(headers)[RECEIPT_HEADER], body) for _, body, headers in batch]
        if self._behaviour == "appends and fails":
            self.unknown += 1
            raise KafkaConnectionError


class Senders:
    """Give a lane webhooks, and keep what became of them."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.sent: list[Webhook] = []
        self.settled: list[Webhook] = []

    def send(self, body: bytes) -> Webhook:
        webhook = Webhook("acme", body, asyncio.get_running_loop().time(), self.settled.append)
        self.sent.append(webhook)
        self._lane.store(webhook)
        return webhook

    async def all_settled(self) -> None:
        async with asyncio.timeout(30):
            while len(self.settled) < len(self.sent):  # noqa: ASYNC110 - a condition over many
                await asyncio.sleep(0.001)


async def drained(spool: Spool) -> None:
    async with asyncio.timeout(30):
        while any(spool.waiting.values()):  # noqa: ASYNC110 - a condition over many
            await asyncio.sleep(0.001)


@asynccontextmanager
async def lane_on(
    broker: Broker, folder: Path, *, max_bytes: int = 2**30
) -> AsyncIterator[tuple[Lane, Spool, Senders]]:
    async with Spool.open(SpoolSettings(folder=folder, max_bytes=max_bytes)) as spool:
        lane = Lane(0, broker, spool, Receipts(), ack_timeout_s=ACK_TIMEOUT_S)  # type: ignore[arg-type]  # what it uses of a producer
        running = asyncio.create_task(lane.run())
        try:
            yield lane, spool, Senders(lane)
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_while_the_broker_answers_nothing_is_spooled(tmp_path: Path) -> None:
    broker = Broker()
    async with lane_on(broker, tmp_path) as (_, _, senders):
        for number in range(50):
            senders.send(b"%d" % number)
            if number % 7 == 0:
                await senders.all_settled()
        await senders.all_settled()
    assert {webhook.outcome for webhook in senders.sent} == {"stored"}
    assert [body for _, body in broker.log] == [b"%d" % number for number in range(50)]


async def test_what_is_not_acknowledged_in_time_is_spooled_and_is_appended_once_when_the_broker_answers_late(
    tmp_path: Path,
) -> None:
    broker = Broker()
    async with lane_on(broker, tmp_path) as (_, spool, senders):
        broker.behave("stands still")
        for number in range(30):
            senders.send(b"%d" % number)
        await senders.all_settled()
        assert {webhook.outcome for webhook in senders.sent} == {"spooled"}
        broker.behave("answers")
        await drained(spool)
        senders.send(b"30")
        await senders.all_settled()
    assert [body for _, body in broker.log] == [b"%d" % number for number in range(31)]


async def test_a_full_spool_refuses_what_the_broker_does_not_take_and_the_late_append_is_no_fault(
    tmp_path: Path,
) -> None:
    broker = Broker()
    async with lane_on(broker, tmp_path, max_bytes=9) as (_, spool, senders):
        broker.behave("stands still")
        senders.send(b"x" * 10)
        await senders.all_settled()
        assert senders.sent[0].refused is not None
        small = senders.send(b"small")
        await senders.all_settled()
        assert small.outcome == "spooled"
        broker.behave("answers")
        await drained(spool)
    assert [body for _, body in broker.log] == [b"x" * 10, b"small"]


async def test_a_lane_goes_on_where_the_one_before_it_ended(tmp_path: Path) -> None:
    broker = Broker()
    broker.behave("stands still")
    async with lane_on(broker, tmp_path) as (_, _, senders):
        for number in range(12):
            senders.send(b"%d" % number)
        await senders.all_settled()
    broker.behave("answers")
    async with lane_on(broker, tmp_path) as (_, spool, after):
        after.send(b"12")
        await after.all_settled()
        await drained(spool)
    assert [body for _, body in broker.log] == [b"%d" % number for number in range(13)]


STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 12)),
    st.tuples(st.just("send huge"), st.just(0)),
    st.tuples(st.just("settle"), st.just(0)),
    st.tuples(st.just("turn"), st.integers(1, 30)),
    st.tuples(st.sampled_from(["answers", "stands still", "fails", "appends and fails"]), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=14))
async def test_whatever_the_broker_does_all_that_was_accepted_is_in_the_log_in_the_order_that_it_came(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    broker = Broker()
    async with lane_on(broker, tmp_path_factory.mktemp("spool")) as (_, spool, senders):
        for what, number in steps:
            match what:
                case "send":
                    for _ in range(number):
                        senders.send(b"%d" % len(senders.sent))
                case "send huge":
                    senders.send(HUGE)
                case "settle":
                    await senders.all_settled()
                case "turn":
                    for _ in range(number):
                        await asyncio.sleep(0)
                case "answers" | "stands still" | "fails" | "appends and fails":
                    broker.behave(what)
        broker.behave("answers")
        await senders.all_settled()
        await drained(spool)
    assert not [webhook for webhook in senders.sent if webhook.refused is not None]
    first = list(dict.fromkeys(broker.log))
    assert first == [(webhook.receipt, webhook.body) for webhook in senders.sent if webhook.body != HUGE]
    # Nobody knew of these that they were there.
    assert len(broker.log) - len(first) <= broker.unknown * BATCH_RECORDS
    assert len({webhook.receipt for webhook in senders.sent}) == len(senders.sent)
