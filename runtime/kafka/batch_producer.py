"""Appends ready-made batches to one topic: one at a time per partition, however long the brokers are away."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from runtime.kafka.connecting import BrokerRefused, connect
from runtime.kafka.producer import new_producer
from runtime.logs import log_event
from runtime.settings import KafkaSettings
from schemas.errors import TopicsError

RECONNECT_S = 0.5
STOP_S = 3.0
LONGEST_ROUND_S = 0.1
REQUEST_TIMEOUT_MS = 10_000
"""After which a broker that does not answer is asked again, over a new connection."""

RECORDS_REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError)
"""The broker refuses these records for what they are; others would be taken."""

BatchRecord = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value, headers."""

_log = logging.getLogger(__name__)


class BatchProducer:
    """An idempotent producer that connects by itself, again and again.

    It does not give a batch up while the brokers are away: aiokafka sends it again, with the same sequence numbers,
    until one says what became of it. So a batch that was on its way when the broker died stands in the log once. (Only
    a partition that has no leader although a broker answers makes aiokafka give up, after REQUEST_TIMEOUT_MS.)

    Args:
        settings: where the brokers are.
        client_id: how they know this process.
        topic: full name.
        partitions: how many the topic has.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str, topic: str, partitions: int) -> None:
        self._settings = settings
        self._client_id = client_id
        self._topic = topic
        self._partitions = partitions
        self._kafka = self._new()
        self._connected = False
        self._connecting = asyncio.Lock()
        self._told = ""
        self._in_use: Counter[AIOKafkaProducer] = Counter()
        """Batches on their way, by the producer that sends them."""
        self._stopping: set[asyncio.Task[None]] = set()
        self._rounds: dict[int | None, _Rounds] = {}
        """By the broker that leads the partitions."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: KafkaSettings, *, client_id: str, topic: str, partitions: int
    ) -> AsyncIterator[BatchProducer]:
        """A producer for as long as the block lasts; `connect` connects it."""
        producer = cls(settings, client_id=client_id, topic=topic, partitions=partitions)
        try:
            yield producer
        finally:
            await asyncio.gather(*producer._stopping, *(_stop(kafka) for kafka in {producer._kafka, *producer._in_use}))

    async def connect(self) -> None:
        """Return once a broker can be reached, be it in an hour.

        Raises:
            TopicsError: the topic has another number of partitions.
        """
        if not self._connected:
            async with self._connecting:
                while not self._connected:
                    await self._try_to_connect()

    @asynccontextmanager
    async def turn(self, partition: int) -> AsyncIterator[None]:
        """Wait for the next request to the partition's broker; the block packs and appends.

        aiokafka sends a broker one request at a time, with batches of many partitions. A batch that is made before that
        is possible is smaller than it could be, and goes alone.
        """
        leader = self._kafka.client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        rounds = self._rounds.setdefault(leader, _Rounds())
        number = await rounds.next()
        try:
            yield
        finally:
            rounds.answered(number)

    def pack(self, records: Iterable[BatchRecord]) -> tuple[Any, int]:
        """A batch of as many of the records, from the first on, as fit; and how many. At least one fits."""
        batch = self._kafka.create_batch()
        count = 0
        for key, value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                break
            count += 1
        return batch, count

    async def append(self, partition: int, batch: Any) -> None:
        """Return once every in-sync replica has the batch, be it in an hour.

        Raises:
            KafkaError: it was refused, or nobody knows; one of RECORDS_REFUSED: for what is in it.
            TopicsError: the topic has another number of partitions.
        """
        await self.connect()
        kafka = self._kafka
        self._in_use[kafka] += 1
        try:
            sent = await kafka.send_batch(batch, self._topic, partition=partition)
            # Not awaited itself: whoever waits may be cancelled, and then nobody would look at its exception.
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            sent.add_done_callback(partial(_tell, told))
            await told
        except KafkaError:
            # aiokafka counts a refused batch into its sequence, so this producer never gets another one through.
            if kafka is self._kafka:
                self._kafka, self._connected = self._new(), False
            raise
        finally:
            self._in_use[kafka] -= 1
            if not self._in_use[kafka]:
                del self._in_use[kafka]
                if kafka is not self._kafka:
                    stopping = asyncio.create_task(_stop(kafka))
                    self._stopping.add(stopping)
                    stopping.add_done_callback(self._stopping.discard)

    def _new(self) -> AIOKafkaProducer:
        return new_producer(
            self._settings, client_id=self._client_id, linger_ms=0, request_timeout_ms=REQUEST_TIMEOUT_MS
        )

    async def _try_to_connect(self) -> None:
        try:
            await connect(self._kafka, self._settings)
            found = len(await self._kafka.partitions_for(self._topic))
        except (KafkaError, BrokerRefused) as error:
            # A refusal does not end this either: a password that was changed for others must not cost webhooks.
            if str(error) != self._told:
                log_event(_log, "broker.unreachable", level=logging.WARNING, reason=str(error))
            self._told = str(error)
            failed, self._kafka = self._kafka, self._new()
            await _stop(failed)
            await asyncio.sleep(RECONNECT_S)
            return
        if found != self._partitions:
            raise TopicsError(f"{self._topic} has {found} partitions, not {self._partitions}: create it anew")
        self._connected, self._told = True, ""


def _tell(told: asyncio.Future[None], sent: asyncio.Future[Any]) -> None:
    error = KafkaError("the producer was stopped") if sent.cancelled() else sent.exception()
    if told.done():
        return
    if error is None:
        told.set_result(None)
    else:
        told.set_exception(error)


class _Rounds:
    """The requests to one broker: whoever waits goes with the next, together."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[int]] = []
        self._number = 0
        self._under_way = False
        self._called = False

    async def next(self) -> int:
        """Return the number of the next round when it begins."""
        turn: asyncio.Future[int] = self._loop.create_future()
        self._waiting.append(turn)
        if not self._under_way:
            self._call()
        return await turn

    def answered(self, number: int) -> None:
        """One of the round has its answer: the others have theirs too, or wait for long, or have to go elsewhere."""
        if self._under_way and number == self._number:
            self._under_way = False
            if self._waiting:
                self._call()

    def _call(self) -> None:
        # Not at once: others may come in this turn of the event loop.
        if not self._called:
            self._called = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._called = False
        waiting = [turn for turn in self._waiting if not turn.done()]
        self._waiting = []
        if waiting:
            self._under_way = True
            self._number += 1
            # A partition without enough replicas keeps its batch for long, and would keep the others waiting.
            self._loop.call_later(LONGEST_ROUND_S, self.answered, self._number)
        for turn in waiting:
            turn.set_result(self._number)


async def _stop(kafka: AIOKafkaProducer) -> None:
    """Disconnect, and let go of what could not be sent: whoever asked for it has not been told that it was."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_S):
            await kafka.stop()
            return
    # It waits for a batch that it sends again and again.
    await kafka.client.close()
