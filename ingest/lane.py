"""One partition's way into the log: straight to Kafka, or through the spool while Kafka does not acknowledge."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ingest.spool import Spool
from ingest.spool_file import SpooledWebhook
from ingest.webhook import Outcome, Receipts, Webhook
from runtime.kafka import RECORDS_REFUSED, BatchProducer, BatchRecord, KafkaError
from runtime.logs import log_event
from schemas.errors import SpoolError
from schemas.topics import RECEIPT_HEADER

PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Spooled:
    """Webhooks that went to the spool while the batch that holds them was on its way."""

    last_id: int
    webhooks: Sequence[Webhook]
    written: asyncio.Future[None]


class Lane:
    """Takes the webhooks of one partition, and keeps their order.

    One batch is on its way to Kafka at a time; the next one is what has come meanwhile. No timer collects requests.
    A webhook that Kafka has not acknowledged in time is spooled, with all that came after it. From then on every
    webhook goes to the spool, until the spool's have gone to Kafka before it.

    Args:
        partition: of the raw log.
        producer: appends batches.
        spool: holds what Kafka does not acknowledge in time.
        receipts: names for webhooks.
        ack_timeout_s: how long a webhook waits for Kafka.
    """

    def __init__(
        self, partition: int, producer: BatchProducer, spool: Spool, receipts: Receipts, *, ack_timeout_s: float
    ) -> None:
        self._partition = partition
        self._producer = producer
        self._spool = spool
        self._receipts = receipts
        self._ack_timeout_s = ack_timeout_s
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[Webhook] = deque()
        """Come, and not in a batch yet."""
        self._sent: Sequence[Webhook] = ()
        """In the batch that is on its way."""
        self._sent_spooled: _Spooled | None = None
        """What of that batch was spooled meanwhile."""
        self._written: asyncio.Future[None] | None = None
        """When the last that were spooled are in the file."""
        self._draining = 0
        """How many from the spool are in the batch that is on its way."""
        self._drained_to = 0
        self._stopping = False
        self._healthy = True
        """Whether Kafka acknowledged the last time."""
        if self._backlog:
            self._work.set()

    @property
    def _backlog(self) -> int:
        return self._spool.waiting.get(self._partition, 0)

    def store(self, webhook: Webhook) -> None:
        """Make a webhook durable, then settle it."""
        webhook.receipt = self._receipts.next()
        self._waiting.append(webhook)
        backlog = self._backlog
        if backlog and not (self._healthy and backlog == self._draining):
            self._to_spool(self._take_waiting())
        else:
            # With a backlog: the last of it is on its way, so this one may wait for its turn in memory.
            self._work.set()
            if self._timer is None:
                self._timer = self._loop.call_at(webhook.came + self._ack_timeout_s, self._look_for_overdue)

    def stop(self) -> None:
        """End when the batch that is on its way is acknowledged; what it leaves in the spool comes again otherwise."""
        self._stopping = True
        self._work.set()

    async def run(self) -> None:
        """Move webhooks to Kafka until it is stopped.

        Raises:
            TopicsError: the topic has another number of partitions.
        """
        pause_s = PAUSE_S
        await self._producer.connect()
        while not self._stopping:
            await self._work.wait()
            try:
                if self._backlog:
                    await self._drain()
                elif self._waiting:
                    async with self._producer.turn(self._partition):
                        if self._waiting and not self._backlog:
                            await self._append()
                else:
                    self._work.clear()
                pause_s = PAUSE_S
            except (KafkaError, SpoolError) as error:
                self._healthy = False
                log_event(_log, "ingest.append_failed", level=logging.WARNING, reason=repr(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _append(self) -> None:
        batch, size = self._producer.pack(_record(webhook) for webhook in self._waiting)
        sent = self._sent = [self._waiting.popleft() for _ in range(size)]
        try:
            await self._producer.append(self._partition, batch)
        except KafkaError:
            self._sent = ()
            if self._sent_spooled is None:
                self._to_spool([*sent, *self._take_waiting()])
            raise
        finally:
            spooled, self._sent_spooled = self._sent_spooled, None
        self._sent = ()
        self._healthy = True
        if spooled is None:
            for webhook in sent:
                webhook.settle("stored")
            return
        # By now it is in both. What could not be spooled was refused, and is in the log all the same.
        await asyncio.wait({spooled.written})
        if spooled.written.exception() is None:
            self._acknowledged(spooled.last_id, [webhook.body for webhook in spooled.webhooks])

    async def _drain(self) -> None:
        rows = await self._spool.read(self._partition, after=self._drained_to)
        if not rows:
            await self._until_written()
            return
        batch, size = self._producer.pack(_record(row) for row in rows)
        rows = rows[:size]
        self._draining = size
        try:
            await self._producer.append(self._partition, batch)
        except RECORDS_REFUSED as error:
            await self._drain_one_by_one(rows, error)
        else:
            self._acknowledged(rows[-1].id, [row.body for row in rows])
        finally:
            self._draining = 0
        self._healthy = True

    async def _drain_one_by_one(self, rows: Sequence[SpooledWebhook], error: KafkaError) -> None:
        """Set aside those that are refused for what they are, or nothing ever gets past them."""
        for row in rows:
            try:
                if len(rows) == 1:
                    raise error
                batch, _ = self._producer.pack([_record(row)])
                await self._producer.append(self._partition, batch)
                self._acknowledged(row.id, [row.body])
            except RECORDS_REFUSED as refused:
                self._drained_to = row.id
                self._spool.park(row)
                log_event(
                    _log,
                    "ingest.parked",
                    level=logging.ERROR,
                    account=row.account,
                    body_bytes=len(row.body),
                    reason=repr(refused),
                )

    async def _until_written(self) -> None:
        """What is to be drained next is still on its way into the file."""
        if self._written is None or self._written.done():
            raise SpoolError("the spool does not give back what it counts")
        await asyncio.wait({self._written})

    def _acknowledged(self, last_id: int, bodies: Sequence[bytes]) -> None:
        self._drained_to = last_id
        self._spool.drained(
            self._partition, up_to=last_id, count=len(bodies), body_bytes=sum(len(body) for body in bodies)
        )
        if not self._backlog:
            log_event(_log, "ingest.drained", partition=self._partition)

    def _look_for_overdue(self) -> None:
        self._timer = None
        sent = [] if self._sent_spooled else [webhook for webhook in self._sent if not webhook.is_settled]
        if not sent and not self._waiting:
            return
        due = (sent or self._waiting)[0].came + self._ack_timeout_s
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look_for_overdue)
            return
        self._healthy = False
        waiting = self._take_waiting()
        written = self._to_spool([*sent, *waiting])
        if sent and written is not None:
            last_id, done = written
            self._sent_spooled = _Spooled(last_id - len(waiting), sent, done)

    def _take_waiting(self) -> list[Webhook]:
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def _to_spool(self, webhooks: Sequence[Webhook]) -> tuple[int, asyncio.Future[None]] | None:
        """Spool them; if there is no room they are refused, and the result is None."""
        if not self._backlog:
            log_event(_log, "ingest.spooling", level=logging.WARNING, partition=self._partition)
        try:
            last_id, written = self._spool.add(self._partition, [(w.account, w.receipt, w.body) for w in webhooks])
        except SpoolError as error:
            _settle(webhooks, error)
            return None
        written.add_done_callback(partial(_settle_written, webhooks))
        self._written = written
        self._work.set()
        return last_id, written


def _record(webhook: Webhook | SpooledWebhook) -> BatchRecord:
    return webhook.account.encode(), webhook.body, [(RECEIPT_HEADER, webhook.receipt)]


def _settle(webhooks: Iterable[Webhook], outcome: Outcome | SpoolError) -> None:
    for webhook in webhooks:
        webhook.settle(outcome)


def _settle_written(webhooks: Iterable[Webhook], written: asyncio.Future[None]) -> None:
    error = written.exception()
    _settle(webhooks, error if isinstance(error, SpoolError) else "spooled")
