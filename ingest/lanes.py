"""The lanes of all partitions, and which of them an account's webhooks take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ingest.lane import Lane
from ingest.spool import Spool
from ingest.webhook import Receipts, Webhook
from runtime.kafka import BatchProducer, partition_of

STOP_S = 2.0
"""What a batch on its way may take to be acknowledged when the process ends."""


class Lanes:
    """All partitions of the raw log."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._by_account: dict[str, Lane] = {}

    def store(self, webhook: Webhook) -> None:
        """Make a webhook durable in its account's lane; see `Lane.store`."""
        account = webhook.account
        lane = self._by_account.get(account)
        if lane is None:
            number = partition_of(account.encode(), range(len(self._lanes)))
            lane = self._by_account[account] = self._lanes[number]
        lane.store(webhook)


@asynccontextmanager
async def open_lanes(
    producer: BatchProducer, spool: Spool, *, partitions: int, ack_timeout_s: float
) -> AsyncIterator[Lanes]:
    """The lanes at work, for as long as the block lasts.

    Raises:
        TopicsError: the topic has another number of partitions (in an ExceptionGroup).
    """
    receipts = Receipts()
    lanes = [Lane(number, producer, spool, receipts, ack_timeout_s=ack_timeout_s) for number in range(partitions)]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(lane.run(), name=f"lane-{number}") for number, lane in enumerate(lanes)]
        try:
            yield Lanes(lanes)
        finally:
            for lane in lanes:
                lane.stop()
            await asyncio.wait(running, timeout=STOP_S)
            for task in running:
                task.cancel()
