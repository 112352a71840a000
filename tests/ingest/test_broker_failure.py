"""The receiver while its broker is away: what it has answered with 2xx is in the log once the broker is back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import metrics
from runtime.broker import RunningBroker, running_broker
from runtime.broker_watch import watching_broker
from runtime.kafka import KafkaError, Producer
from runtime.kafka.topics import ensure_topics
from runtime.settings import IngestSettings, KafkaSettings, SpoolSettings
from schemas.topics import RECEIPT_HEADER
from tests.ingest.running import ACME, BOLT, HOST, RAW_LOG, Running, listening, receiver_on, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        try:
            yield running
        finally:
            os.kill(running.pid, signal.SIGCONT)


async def post(receiver: Running, bodies: list[str], path: str = ACME) -> set[int]:
    """Post one after the other, as somebody who waits for each answer."""
    return {(await receiver.http.post(path, content=body.encode())).status_code for body in bodies}


def outcomes(outcome: str) -> float:
    labels = {"account": "acme", "outcome": outcome}
    return metrics.REGISTRY.get_sample_value("tradewind_webhooks_received_total", labels) or 0.0


def test_the_receiver_gives_up_before_servicetrade_does() -> None:
    assert IngestSettings().ack_timeout_s < IngestSettings().answer_timeout_s < 5


async def test_while_the_broker_stands_still_webhooks_are_spooled_and_all_are_in_the_log_once_and_in_order(
    own_broker: RunningBroker,
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_broker.bootstrap_servers)
    async with receiver_on(kafka, ack_timeout_s=0.5) as receiver, watching_broker(kafka) as watch:

        async def known_as_gone() -> bool:
            return not watch.ready()["broker"]

        assert await post(receiver, ["before"]) == {204}
        await until(receiver.drained)
        spooled = outcomes("spooled")
        os.kill(own_broker.pid, signal.SIGSTOP)
        together = await asyncio.gather(*(post(receiver, ["first together"]) for _ in range(20)))
        assert set.union(*together) == {204}
        assert await post(receiver, [f"during {number}" for number in range(20)]) == {204}
        assert outcomes("spooled") == spooled + 40
        assert receiver.spool.has_room()
        await until(known_as_gone)
        os.kill(own_broker.pid, signal.SIGCONT)
        after = [f"after {number}" for number in range(20)]
        assert await post(receiver, after) == {204}
        await until(receiver.drained)
        assert await post(receiver, ["last"]) == {204}
        stored = await receiver.stored()
        values = [(record.value or b"").decode() for record in stored]
        # Also the batch that was on its way when the broker stood still is there once.
        during = [f"during {number}" for number in range(20)]
        assert values == ["before", *["first together"] * 20, *during, *after, "last"]
        assert len({dict(record.headers)[RECEIPT_HEADER] for record in stored}) == len(stored)


async def test_a_receiver_that_starts_without_a_broker_spools_and_drains_when_it_comes(
    own_broker: RunningBroker, tmp_path: Path
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_broker.bootstrap_servers)
    spool = SpoolSettings(folder=tmp_path / "spool")
    await ensure_topics(kafka, [RAW_LOG])
    os.kill(own_broker.pid, signal.SIGSTOP)
    async with listening(kafka, spool=spool, ack_timeout_s=0.3) as receiver:
        assert await post(receiver, ["one", "two"]) == {204}
        assert await post(receiver, ["three"], BOLT) == {204}
    # It ended with a full spool; the next one takes it over, and keeps the order.
    async with listening(kafka, spool=spool, ack_timeout_s=0.3) as receiver:
        assert sum(receiver.spool.waiting.values()) == 3
        assert await post(receiver, ["four"]) == {204}
        os.kill(own_broker.pid, signal.SIGCONT)
        await until(receiver.drained)
        stored = await receiver.stored()
        assert [record.value for record in stored if record.key == b"acme"] == [b"one", b"two", b"four"]
        assert [record.value for record in stored if record.key == b"bolt"] == [b"three"]


async def test_a_full_spool_refuses_with_503_while_the_broker_is_away_and_takes_webhooks_again_afterwards(
    own_broker: RunningBroker, tmp_path: Path
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_broker.bootstrap_servers)
    await ensure_topics(kafka, [RAW_LOG])
    spool = SpoolSettings(folder=tmp_path / "spool", max_bytes=25)
    async with listening(kafka, spool=spool, ack_timeout_s=0.3) as receiver:
        assert await post(receiver, ["x" * 10]) == {204}
        await until(receiver.drained)
        os.kill(own_broker.pid, signal.SIGSTOP)
        assert await post(receiver, ["a" * 10, "b" * 10]) == {204}
        assert receiver.spool.has_room()
        assert await post(receiver, ["c" * 10]) == {503}
        assert receiver.spool.ready() == {"accepting": False}
        assert await post(receiver, ["d" * 5]) == {204}
        assert await post(receiver, ["e"], BOLT) == {503}
        os.kill(own_broker.pid, signal.SIGCONT)
        await until(receiver.drained)
        assert receiver.spool.has_room()
        assert await post(receiver, ["f" * 10]) == {204}
        stored = [record.value for record in await receiver.stored() if record.key == b"acme"]
        assert stored == [b"x" * 10, b"a" * 10, b"b" * 10, b"d" * 5, b"f" * 10]


async def test_a_record_that_the_broker_refuses_is_kept_aside_and_does_not_shut_out_the_others(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    small = replace(RAW_LOG, partitions=1, config={**RAW_LOG.config, "max.message.bytes": "100000"})
    await ensure_topics(kafka, [replace(small, partitions=RAW_LOG.partitions)])
    huge = random.Random(1).randbytes(300_000)
    spool = SpoolSettings(folder=tmp_path / "spool")

    async def parked() -> bool:
        return metrics.REGISTRY.get_sample_value("tradewind_spool_parked") == 1

    async with listening(kafka, spool=spool) as receiver:
        assert await post(receiver, ["before"]) == {204}
        many = [receiver.http.post(ACME, content=body) for body in (b"beside", huge, b"beside")]
        assert {answer.status_code for answer in await asyncio.gather(*many)} == {204}
        await until(parked)
        assert await post(receiver, ["after"]) == {204}
        await until(receiver.drained)
        assert [record.value for record in await receiver.stored()] == [b"before", b"beside", b"beside", b"after"]
    # It is still there for whoever raises the limit of the topic.
    async with listening(kafka, spool=spool) as receiver:
        await until(parked)
        assert await post(receiver, ["later"]) == {204}


async def test_a_sender_that_is_too_slow_with_its_body_is_answered_503_and_stores_nothing(
    kafka: KafkaSettings,
) -> None:
    async with receiver_on(kafka, answer_timeout_s=0.3) as receiver:
        head = f"POST {ACME} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\nhalf"
        assert (await receiver.talk(head.encode())).startswith(b"HTTP/1.1 503 ")
        assert await receiver.stored() == []


async def test_a_producer_does_not_start_on_a_server_that_never_answers() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.close()

    async with await asyncio.start_server(say_nothing, HOST, 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        with pytest.raises(KafkaError):
            async with Producer.open(KafkaSettings(bootstrap_servers=f"{HOST}:{port}"), client_id="test"):
                pass
