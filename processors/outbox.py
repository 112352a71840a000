"""What the batches amount to, on its way out: sent at once, and committed when all of it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from processors.consolidator import Ledger, Outcome
from processors.figures import count
from processors.owned import Owned
from runtime.kafka import Headers, Partition, Producer
from runtime.logs import log_event
from schemas.change import change_record
from schemas.encoding import encode
from schemas.topics import CHANGES, DEADLETTERS, RULES

_log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.1
"""At most so often: a commit costs as much as a hundred notifications, and what it spares is a repeat after a crash."""

Commit = Callable[[Mapping[Partition, int]], Awaitable[bool]]
Outgoing = tuple[str, bytes | None, bytes, Headers]


@dataclass(frozen=True, slots=True)
class _Parcel:
    """What one batch amounted to."""

    owned: Owned
    position: int
    """Offset after the batch."""
    outcome: Outcome
    before: Ledger
    after: Ledger
    arrived: asyncio.Future[None]


class Outbox:
    """Sends for all partitions together: whatever came up while the last lot was on its way is the next lot.

    A partition has one batch on its way at most, so its changes are in order and what waits is bounded.

    Args:
        producer: of this process.
        prefix: of all topics' names.
        commit: commits the offsets of the next records to read; False if the group moved on.
        owned: what this worker owns now; nothing is committed for what it does not.
    """

    def __init__(
        self, producer: Producer, prefix: str, *, commit: Commit, owned: Callable[[], Iterable[Owned]]
    ) -> None:
        self._producer = producer
        self._prefix = prefix
        self._commit = commit
        self._owned = owned
        self._parcels: list[_Parcel] = []
        self._came = asyncio.Event()
        self._acknowledged = asyncio.Event()

    async def run(self) -> None:
        """Send and commit until cancelled.

        Raises:
            ExceptionGroup: of KafkaError: something was not acknowledged; nothing of its batch was committed.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_what_comes())
            tasks.create_task(self._commit_what_arrives())

    def put(self, owned: Owned, outcome: Outcome, before: Ledger) -> None:
        """Send what a batch amounted to, up to `owned.position`; wait for `owned.sent()` before the next one.

        Args:
            owned: the partition, which has consumed the batch.
            outcome: of the batch.
            before: the partition's ledger before the batch.
        """
        arrived = asyncio.get_running_loop().create_future()
        parcel = _Parcel(owned, owned.position, outcome, before, replace(owned.consolidator.ledger), arrived)
        if outcome:
            owned.sending = arrived
            self._parcels.append(parcel)
            self._came.set()
        else:
            self._arrived(parcel)

    def _arrived(self, parcel: _Parcel) -> None:
        count(parcel.outcome, parcel.before, parcel.after)
        parcel.owned.acknowledged = parcel.position
        parcel.arrived.set_result(None)
        self._acknowledged.set()

    async def _send_what_comes(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            lot, self._parcels = self._parcels, []
            await self._producer.send_all(record for parcel in lot for record in self._outgoing(parcel.outcome))
            for parcel in lot:
                self._arrived(parcel)

    async def _commit_what_arrives(self) -> None:
        while True:
            await self._acknowledged.wait()
            self._acknowledged.clear()
            await self.commit()
            await asyncio.sleep(COMMIT_EVERY_S)

    async def commit(self) -> None:
        """Commit what is acknowledged of what is owned."""
        moved = {one.partition: one for one in self._owned() if one.acknowledged > one.committed}
        positions = {partition: one.acknowledged for partition, one in moved.items()}
        if not positions:
            return
        if not await self._commit(positions):
            log_event(_log, "processors.commit_refused", level=logging.WARNING, partitions=len(positions))
            return
        for partition, one in moved.items():
            one.committed = positions[partition]

    def _outgoing(self, outcome: Outcome) -> Iterable[Outgoing]:
        prefix = self._prefix
        for change in outcome.changes:
            yield (prefix + CHANGES.name, *change_record(change))
        for record, letter in outcome.dead_letters:
            yield prefix + DEADLETTERS.name, record.key, record.value or b"", [*record.headers, *letter.headers()]
        for entry in outcome.rules:
            yield prefix + RULES.name, entry.account.encode(), encode(entry), ()
