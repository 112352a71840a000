"""Sends a replay's changes, and saves the positions before which everything is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from replay.plan import Note, Plan, write_note
from runtime.kafka import Headers, KafkaError, Partition, Producer
from runtime.kafka.bookmarks import Bookmark, Bookmarks
from schemas.change import EntityChange, change_record

SAVE_EVERY_S = 0.5
"""At most so often positions are saved: what is sent between two times stands in the topic twice after a kill -9."""
LEAVE_S = 5.0

Outgoing = tuple[str, bytes | None, bytes, Headers]


class Outlet:
    """Sends one lot while the next is being made, and saves the positions before which everything is acknowledged."""

    def __init__(self, producer: Producer, bookmarks: Bookmarks, plan: Plan) -> None:
        self._producer = producer
        self._bookmarks = bookmarks
        self._plan = plan
        self._more = tuple(plan.headers())
        self._positions: dict[Partition, tuple[int, bool]] = {}
        """By partition, and whether nothing more comes."""
        self._is_saved = True
        self._sending: asyncio.Task[None] | None = None
        self._then: tuple[Partition, int] | None = None
        """What holds when the lot that is on its way is acknowledged."""
        self._saved_at = time.monotonic()

    def position(self, partition: Partition) -> int:
        """Where to read on."""
        return self._positions[partition][0]

    def is_over(self, partition: Partition) -> bool:
        """Whether nothing more comes from it."""
        return self._positions[partition][1]

    def note(self, partition: Partition, position: int, is_over: bool) -> None:
        """Everything that comes of the records before the position is in the topic."""
        self._positions[partition] = position, is_over
        self._is_saved = False

    async def put(self, partition: Partition, changes: Sequence[EntityChange], position: int) -> None:
        """Send, after what was put before is acknowledged; returns before this is."""
        await self._settle()
        self._then = partition, position
        if changes:
            self._sending = asyncio.create_task(self._producer.send_all(self._outgoing(changes)))
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            await self.save()

    async def end(self, partition: Partition, position: int, *, is_over: bool) -> None:
        """Everything of the partition was put."""
        await self._settle()
        self.note(partition, position, is_over)
        await self.save()

    async def save(self) -> None:
        """Save what is acknowledged, if anything moved."""
        self._saved_at = time.monotonic()
        if self._is_saved:
            return
        # Also those that did not move: Kafka forgets each by itself, and a replay may take longer than that.
        await self._bookmarks.put(
            {partition: Bookmark(at, self._text(partition)) for partition, (at, _) in self._positions.items()}
        )
        self._is_saved = True

    @asynccontextmanager
    async def saving_what_was_sent(self) -> AsyncIterator[None]:
        """If the block is cancelled, wait a moment for what is on its way, and save it."""
        try:
            yield
        except asyncio.CancelledError:
            # If it does not arrive in time it is sent again by whoever goes on.
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(LEAVE_S):
                    await self._settle()
                    await self.save()
            raise
        finally:
            if self._sending is not None:
                self._sending.cancel()
                await asyncio.wait({self._sending})

    def _text(self, partition: Partition) -> str:
        return write_note(Note(self._plan, is_over=self._positions[partition][1]))

    def _outgoing(self, changes: Sequence[EntityChange]) -> Sequence[Outgoing]:
        topic, more = self._plan.topic, self._more
        records = []
        for change in changes:
            key, value, headers = change_record(change)
            records.append((topic, key, value, [*headers, *more]))
        return records

    async def _settle(self) -> None:
        if self._sending is not None:
            # Not cancelled with us: what is on its way arrives all the same.
            await asyncio.shield(self._sending)
            self._sending = None
        if self._then is not None:
            self.note(*self._then, is_over=False)
            self._then = None
