"""The shell around the pure core: restores partitions, feeds them batches, and hands on what comes out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from processors.consolidator import Consolidator
from processors.outbox import Commit, Outbox
from processors.owned import Owned
from processors.restore import Restored, read_rules_history, restore
from processors.ticker import Ticker
from processors.watchdog import watch
from runtime import metrics
from runtime.kafka import KafkaError, LogReader, Partition, Producer
from runtime.kafka.topics import committed_offsets
from runtime.lag import Place
from runtime.logs import log_event
from runtime.settings import KafkaSettings, ProcessorsSettings
from schemas.errors import LogGapError
from schemas.pipeline import PipelineTimes
from schemas.record import Record
from schemas.topics import RULES, WEBHOOKS

_log = logging.getLogger(__name__)

DRAIN_S = 5.0
"""How long the end waits for what is on its way; what is not committed then will stand in the topics twice."""


class Engine:
    """All partitions of one worker.

    Args:
        kafka: the broker.
        times: settings of the pipeline.
        settings: the processors' group and time-outs.
        producer: sends changes, dead letters, rules and ticks.
        reader: reads stretches of the log for restores; used by nobody else.
        commit: commits offsets for this member of the group.
        accept_loss: go on where retention removed what was not processed.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        times: PipelineTimes,
        *,
        settings: ProcessorsSettings,
        producer: Producer,
        reader: LogReader,
        commit: Commit,
        accept_loss: bool = False,
    ) -> None:
        self._kafka = kafka
        self._times = times
        self._settings = settings
        self._producer = producer
        self._reader = reader
        self._accept_loss = accept_loss
        self._owned: dict[Partition, Owned] = {}
        self._assigned: frozenset[Partition] = frozenset()
        self._generation = 0
        self._restored = 0
        """Batches read for restores: tells that one is going on."""
        self._rebalanced = asyncio.Event()
        self._settled = asyncio.Event()
        """Set while every assigned partition stands at its committed offset or beyond."""
        self._ticker = Ticker(producer, self._owned_now)
        self._outbox = Outbox(producer, kafka.topic_prefix, commit=commit, owned=self._owned_now)
        self._reading = asyncio.Lock()
        metrics.OPEN_WINDOWS.set_function(lambda: sum(one.open_windows for one in self._consolidators()))
        metrics.REMEMBERED_MESSAGES.set_function(lambda: sum(one.remembered_messages for one in self._consolidators()))
        metrics.LEDGER_IMBALANCE.set_function(
            lambda: sum(one.ledger.imbalance(one.open_notifications) for one in self._consolidators())
        )

    def ready(self) -> Mapping[str, bool]:
        """Conditions for /readyz."""
        return {"restored": self._settled.is_set()}

    def _owned_now(self) -> list[Owned]:
        return list(self._owned.values())

    def _consolidators(self) -> list[Consolidator]:
        return [owned.consolidator for owned in self._owned.values()]

    async def run(self) -> None:
        """Restore what is assigned, send, commit, and tick on silence, until cancelled.

        Raises:
            ExceptionGroup: of LogGapError, KafkaError or ProcessorsError; the worker cannot go on.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._restore_after_rebalance())
            tasks.create_task(self._ticker.run())
            tasks.create_task(self._outbox.run())
            tasks.create_task(
                watch(
                    self._reader,
                    self._kafka.topic_prefix + WEBHOOKS.name,
                    timeout_s=self._settings.stall_timeout_s,
                    places=lambda: {
                        partition: Place(owned.position, owned.last_append_ms)
                        for partition, owned in self._owned.items()
                    },
                    rebalance=lambda: None if self._settled.is_set() else self._generation + self._restored,
                )
            )

    # -- assignment ------------------------------------------------------------------------------------------------

    async def on_revoked(self, partitions: frozenset[Partition]) -> None:
        """Hold all batches until the next assignment; what is in memory is kept only as far as that allows."""
        self._settled.clear()
        self._generation += 1  # a restore that is under way is for an assignment that has ended
        log_event(_log, "processors.revoked", partitions=len(partitions))

    async def on_assigned(self, partitions: frozenset[Partition]) -> None:
        """Note the assignment; restoring is `run`'s work, so that the group is not kept waiting."""
        self._settled.clear()
        log_event(_log, "processors.assigned", partitions=len(partitions))
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
                self._ticker.moved()

    async def _restore_all(self, partitions: frozenset[Partition]) -> None:
        """Bring every partition to its committed offset."""
        self._owned = {partition: owned for partition, owned in self._owned.items() if partition in partitions}
        for owned in self._owned_now():
            await owned.sent()
        await self._outbox.commit()
        # Nobody owns anything from here on: a batch that is still under way must not commit behind our back.
        before, self._owned = self._owned, {}
        committed = await committed_offsets(self._kafka, self._settings.group)
        history = await read_rules_history(self._reader, self._kafka.topic_prefix + RULES.name)
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
                oldest_ms=round(time.time() * 1000) - self._kafka.retention_ms,
                accept_loss=self._accept_loss,
                on_batch=self._count_restored,
            )
            self._take(partition, restored)

    def _count_restored(self) -> None:
        self._restored += 1

    def _take(self, partition: Partition, restored: Restored) -> None:
        owned = Owned(
            partition=partition,
            consolidator=restored.consolidator,
            position=restored.position,
            acknowledged=restored.position,
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
            self._ticker.tick(owned)

    # -- batches ---------------------------------------------------------------------------------------------------

    async def on_batch(self, partition: Partition, records: Sequence[Record]) -> None:
        """Consume records and put what comes out on its way; returns before that has arrived.

        Raises:
            LogGapError: retention overtook the worker.
        """
        owned = await self._turn(partition)
        if owned is None:  # someone else's since the rebalance: they read it from the committed offset
            return
        if records[0].offset < owned.position:  # fetched before a rebalance, and consumed since
            records = [record for record in records if record.offset >= owned.position]
            if not records:
                return
        if records[0].offset > owned.position:
            records = [*await self._missing(owned, records[0].offset), *records]
            if self._owned.get(partition) is not owned:
                return
        before = replace(owned.consolidator.ledger)
        outcome = owned.consolidator.feed(records)
        owned.position = records[-1].offset + 1
        owned.last_append_ms, owned.read_at = records[-1].timestamp, time.monotonic()
        self._ticker.moved()
        self._outbox.put(owned, outcome, before)

    async def _turn(self, partition: Partition) -> Owned | None:
        """Wait until the partition stands where the group does, and nothing of it is on its way."""
        while True:
            await self._settled.wait()
            owned = self._owned.get(partition)
            if owned is None:
                return None
            await owned.sent()
            if self._settled.is_set() and self._owned.get(partition) is owned:
                return owned

    async def drain(self) -> None:
        """Take no more batches, and commit what was taken, as far as that is soon possible."""
        self._settled.clear()
        try:
            async with asyncio.timeout(DRAIN_S):
                for owned in self._owned_now():
                    await owned.sent()
                await self._outbox.commit()
        except (KafkaError, TimeoutError) as error:
            log_event(_log, "processors.not_drained", level=logging.WARNING, reason=repr(error))

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
