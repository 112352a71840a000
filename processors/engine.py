"""The shell around the pure core: restores partitions, feeds batches, sends what comes out, commits, and ticks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from processors.consolidator import Consolidator, Ledger, Outcome
from processors.restore import Restored, read_rules_history, restore
from runtime import metrics
from runtime.kafka import Headers, LogReader, Partition, Producer, acknowledged
from runtime.kafka.topics import committed_offsets
from runtime.logs import log_event
from runtime.settings import KafkaSettings
from schemas.change import cloud_event_headers
from schemas.encoding import encode
from schemas.errors import LogGapError
from schemas.pipeline import PipelineTimes
from schemas.record import Record
from schemas.topics import CHANGES, CONTROL_HEADER, CONTROL_TICK, DEADLETTERS, RULES

_log = logging.getLogger(__name__)

DAY_MS = 86_400_000
Commit = Callable[[Mapping[Partition, int]], Awaitable[bool]]
Outgoing = tuple[str, bytes | None, bytes, Headers]


@dataclass(slots=True)
class Owned:
    """A partition that this worker owns: its state, and what is needed to know the log's time."""

    partition: Partition
    consolidator: Consolidator
    position: int
    """Offset of the next record to consume."""
    committed: int
    last_append_ms: int | None
    read_at: float
    """Monotonic seconds at which the record with that append time was read."""
    tick: asyncio.Task[int] | None = None
    """The one outstanding tick; resolves to its offset."""

    def log_time_ms(self, now: float) -> float | None:
        """The least that the partition's time can be at monotonic second `now`, or None if nothing was read yet."""
        return None if self.last_append_ms is None else self.last_append_ms + (now - self.read_at) * 1000

    def tick_outstanding(self) -> bool:
        """Whether a tick was sent that has not been consumed.

        Raises:
            KafkaError: it could not be sent.
        """
        return self.tick is not None and (not self.tick.done() or self.tick.result() >= self.position)


class Engine:
    """All partitions of one worker.

    Args:
        kafka: the broker.
        times: settings of the pipeline.
        group: the processors' consumer group.
        producer: sends changes, dead letters, rules and ticks.
        reader: reads stretches of the log for restores; used by nobody else.
        accept_loss: go on where retention removed what was not processed.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        times: PipelineTimes,
        *,
        group: str,
        producer: Producer,
        reader: LogReader,
        accept_loss: bool = False,
    ) -> None:
        self._kafka = kafka
        self._times = times
        self._group = group
        self._producer = producer
        self._reader = reader
        self._accept_loss = accept_loss
        self._owned: dict[Partition, Owned] = {}
        self._assigned: frozenset[Partition] = frozenset()
        self._generation = 0
        self._rebalanced = asyncio.Event()
        self._settled = asyncio.Event()
        """Set while every assigned partition stands at its committed offset or beyond."""
        self._moved = asyncio.Event()
        self._reading = asyncio.Lock()
        metrics.OPEN_WINDOWS.set_function(lambda: sum(one.open_windows for one in self._consolidators()))
        metrics.LEDGER_IMBALANCE.set_function(
            lambda: sum(one.ledger.imbalance(one.open_notifications) for one in self._consolidators())
        )

    def ready(self) -> Mapping[str, bool]:
        """Conditions for /readyz."""
        return {"restored": self._settled.is_set()}

    def _consolidators(self) -> list[Consolidator]:
        return [owned.consolidator for owned in self._owned.values()]

    async def run(self) -> None:
        """Restore what is assigned and tick on silence, until cancelled.

        Raises:
            ExceptionGroup: of LogGapError or KafkaError; the worker cannot go on.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._restore_after_rebalance())
            tasks.create_task(self._tick_on_silence())

    # -- assignment ------------------------------------------------------------------------------------------------

    async def on_revoked(self, partitions: frozenset[Partition]) -> None:
        """Hold all batches until the next assignment; what is in memory is kept only as far as that allows."""
        self._settled.clear()
        log_event(_log, "processors.revoked", partitions=len(partitions))

    async def on_assigned(self, partitions: frozenset[Partition]) -> None:
        """Note the assignment; restoring is `run`'s work, so that the group is not kept waiting."""
        self._settled.clear()
        self._assigned = partitions
        self._generation += 1
        self._rebalanced.set()

    async def _restore_after_rebalance(self) -> None:
        while True:
            await self._rebalanced.wait()
            self._rebalanced.clear()
            generation = self._generation
            async with self._reading:
                await self._restore_all(self._assigned)
            if generation == self._generation:
                self._settled.set()
                self._moved.set()

    async def _restore_all(self, partitions: frozenset[Partition]) -> None:
        """Bring every partition to its committed offset."""
        committed = await committed_offsets(self._kafka, self._group)
        history = await read_rules_history(self._reader, self._kafka.topic_prefix + RULES.name)
        before, self._owned = self._owned, {}
        for partition in sorted(partitions):
            kept = before.get(partition)
            # Memory is as good as the log only if it stands exactly where the group does.
            if kept is not None and kept.position == committed.get(partition):
                self._owned[partition] = kept
                continue
            restored = await restore(
                self._reader,
                partition,
                committed.get(partition),
                epoch=self._kafka.log_epoch,
                times=self._times,
                history=history,
                oldest_ms=round(time.time() * 1000) - self._kafka.retention_days * DAY_MS,
                accept_loss=self._accept_loss,
            )
            self._take(partition, restored)

    def _take(self, partition: Partition, restored: Restored) -> None:
        owned = Owned(
            partition=partition,
            consolidator=restored.consolidator,
            position=restored.position,
            committed=restored.position,
            last_append_ms=restored.last_append_ms,
            read_at=time.monotonic(),
        )
        self._owned[partition] = owned
        metrics.RESTORE_SECONDS.observe(restored.seconds)
        metrics.RESTORED_RECORDS.inc(restored.records)
        log_event(
            _log,
            "processors.restored",
            partition=partition.number,
            position=restored.position,
            records=restored.records,
            open_windows=restored.consolidator.open_windows,
            seconds=round(restored.seconds, 3),
        )
        if restored.consolidator.open_windows:
            # How long the log has been silent is unknown: let the broker say what time it is.
            owned.tick = asyncio.create_task(self._append_tick(partition))

    # -- batches ---------------------------------------------------------------------------------------------------

    async def on_batch(self, partition: Partition, records: Sequence[Record], commit: Commit) -> None:
        """Consume records, send what comes out, and commit once all of it is acknowledged.

        Raises:
            KafkaError: something was not acknowledged; nothing was committed.
            LogGapError: retention overtook the worker.
        """
        await self._settled.wait()
        owned = self._owned.get(partition)
        if owned is None:  # someone else's since the rebalance: they read it from the committed offset
            return
        if records[0].offset < owned.position:  # fetched before a rebalance, and consumed since
            records = [record for record in records if record.offset >= owned.position]
            if not records:
                return
        if records[0].offset > owned.position:
            records = [*await self._missing(owned, records[0].offset), *records]
        before = replace(owned.consolidator.ledger)
        outcome = owned.consolidator.feed(records)
        owned.position = records[-1].offset + 1
        owned.last_append_ms, owned.read_at = records[-1].timestamp, time.monotonic()
        self._moved.set()
        await self._send(outcome)
        self._count(outcome, before, owned.consolidator)
        if self._owned.get(partition) is not owned:
            return
        if await commit({partition: owned.position}):
            owned.committed = owned.position
        else:
            log_event(_log, "processors.commit_refused", level=logging.WARNING, partition=partition.number)

    async def _missing(self, owned: Owned, found: int) -> list[Record]:
        """What the log holds between the position and the batch: nothing where offsets have gaps of their own.

        A batch can be ahead of the position: fetched before a rebalance, and put into the queue after it was cleared.
        """
        partition = owned.partition
        async with self._reading:
            beginning = await self._reader.beginning(partition)
            if beginning > owned.position and not self._accept_loss:
                raise LogGapError(
                    f"{partition.topic}[{partition.number}]: retention removed {owned.position} to {beginning - 1} "
                    "before they were processed; --accept-loss goes on without them"
                )
            missing: list[Record] = []
            async for batch in self._reader.read(partition, max(owned.position, beginning), found):
                missing += batch
        return missing

    async def _send(self, outcome: Outcome) -> None:
        prefix = self._kafka.topic_prefix
        outgoing: list[Outgoing] = [
            (prefix + CHANGES.name, change.key.encode(), encode(change), cloud_event_headers(change))
            for change in outcome.changes
        ]
        outgoing += [
            (prefix + DEADLETTERS.name, record.key, record.value or b"", [*record.headers, *letter.headers()])
            for record, letter in outcome.dead_letters
        ]
        outgoing += [(prefix + RULES.name, entry.account.encode(), encode(entry), ()) for entry in outcome.rules]
        await self._producer.send_all(outgoing)

    # -- silence ---------------------------------------------------------------------------------------------------

    async def _tick_on_silence(self) -> None:
        """Append a tick to a partition whose windows are due and whose log is silent."""
        while True:
            self._moved.clear()
            now = time.monotonic()
            waits = [self._tick_if_due(owned, now) for owned in self._owned.values()]
            wait_s = min((wait for wait in waits if wait is not None), default=None)
            try:
                async with asyncio.timeout(wait_s):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def _tick_if_due(self, owned: Owned, now: float) -> float | None:
        """Append a tick if the earliest window is due; else the seconds until it is, None if there is no need."""
        if owned.tick_outstanding():
            return 1.0 if owned.tick is not None and not owned.tick.done() else None
        due_ms, log_time_ms = owned.consolidator.next_due_ms(), owned.log_time_ms(now)
        if due_ms is None or log_time_ms is None:
            return None
        wait_s = (due_ms + 1 - log_time_ms) / 1000  # a window closes by a record after its due time
        if wait_s > 0:
            return wait_s
        owned.tick = asyncio.create_task(self._append_tick(owned.partition))
        return 1.0

    async def _append_tick(self, partition: Partition) -> int:
        metrics.TICKS.inc()
        sent = await self._producer.send(
            partition.topic,
            key=None,
            value=b"",
            headers=[(CONTROL_HEADER, CONTROL_TICK)],
            partition=partition.number,
        )
        return (await acknowledged(sent)).offset

    # -- figures ---------------------------------------------------------------------------------------------------

    def _count(self, outcome: Outcome, before: Ledger, consolidator: Consolidator) -> None:
        after = consolidator.ledger
        for name in ("merged", "duplicates", "filtered", "quarantined"):
            metrics.NOTIFICATIONS.labels(name).inc(getattr(after, name) - getattr(before, name))
        metrics.CHANGES.inc(len(outcome.changes))
        now_ms = time.time() * 1000
        for change in outcome.changes:
            if change.closed_by in ("quiet", "ceiling", "cut"):
                metrics.FIRING_DELAY_SECONDS.observe(max(0.0, (now_ms - change.due_ms) / 1000))
        for record, letter in outcome.dead_letters:
            log_event(
                _log,
                "processors.quarantined",
                level=logging.WARNING,
                offset=record.offset,
                error=letter.error,
                reason=letter.message,
            )
        for entry in outcome.rules:
            log_event(_log, "processors.rules_applied", account=entry.account, version=entry.version)
