"""The receiver while its broker stands still: 503 in time, nothing pretended, and back by itself."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.broker import RunningBroker, running_broker
from runtime.broker_watch import watching_broker
from runtime.kafka import KafkaError, Producer
from runtime.kafka.topics import ensure_topics
from runtime.settings import IngestSettings, KafkaSettings
from tests.ingest.running import ACME, HOST, RAW_LOG, listening, receiver_on

pytestmark = pytest.mark.anyio


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        try:
            yield running
        finally:
            os.kill(running.pid, signal.SIGCONT)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(40):
        while not await condition():  # noqa: ASYNC110 - another process has no event to set
            await asyncio.sleep(0.05)


def test_the_receiver_gives_up_before_servicetrade_does() -> None:
    assert IngestSettings().ack_timeout_s < 5


async def test_while_the_broker_stands_still_a_webhook_is_answered_503_and_later_ones_are_stored_again(
    own_broker: RunningBroker,
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_broker.bootstrap_servers)
    async with receiver_on(kafka, ack_timeout_s=0.5) as receiver, watching_broker(kafka) as watch:

        async def stored_again() -> bool:
            return (await receiver.http.post(ACME, content=b"after")).status_code == 204

        async def known_as_gone() -> bool:
            return not watch.ready()["broker"]

        assert (await receiver.http.post(ACME, content=b"before")).status_code == 204
        os.kill(own_broker.pid, signal.SIGSTOP)
        answers = await asyncio.gather(*(receiver.http.post(ACME, content=b"during") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {503}
        await until(known_as_gone)
        os.kill(own_broker.pid, signal.SIGCONT)
        await until(stored_again)
        values = [record.value for record in await receiver.stored()]
        assert values[0] == b"before"
        assert values[-1] == b"after"
        assert values.count(b"during") <= 20


async def test_a_record_that_the_broker_refuses_does_not_shut_out_the_ones_after_it(kafka: KafkaSettings) -> None:
    """aiokafka counts a refused batch into its sequence, so the idempotent producer never gets another one through."""
    small = replace(RAW_LOG, partitions=1, config={**RAW_LOG.config, "max.message.bytes": "100000"})
    await ensure_topics(kafka, [small])
    async with listening(kafka) as receiver:
        assert (await receiver.http.post(ACME, content=b"before")).status_code == 204
        assert (await receiver.http.post(ACME, content=random.Random(1).randbytes(300_000))).status_code == 503
        assert (await receiver.http.post(ACME, content=b"after")).status_code == 204
        assert [record.value for record in await receiver.stored()] == [b"before", b"after"]


async def test_a_sender_that_is_too_slow_with_its_body_is_answered_503_and_stores_nothing(
    kafka: KafkaSettings,
) -> None:
    async with receiver_on(kafka, ack_timeout_s=0.3) as receiver:
        head = f"POST {ACME} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\nhalf"
        assert (await receiver.talk(head.encode())).startswith(b"HTTP/1.1 503 ")
        assert await receiver.stored() == []


async def test_a_process_does_not_start_on_a_server_that_never_answers() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.close()

    async with await asyncio.start_server(say_nothing, HOST, 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        with pytest.raises(KafkaError):
            async with Producer.open(KafkaSettings(bootstrap_servers=f"{HOST}:{port}"), client_id="test"):
                pass
