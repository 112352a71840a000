"""Works on the changes of one entity strictly in order, and on different entities at the same time."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from schemas.errors import Reject, RetryLater
from schemas.record import LogRecord
from sinks.arrival import Arrival, read_arrival
from sinks.pauses import Pauses
from sinks.reports import Reports
from sinks.sink import Sink

AT_ONCE = 100
"""Changes of one entity that the sink is given at most in one call."""


@dataclass(slots=True, eq=False)
class _Lane:
    """One entity's changes, and the task that works on them for as long as there are any."""

    arrivals: deque[Arrival] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    unfinished: int = 1
    """Records without an outcome yet."""
    failures: int = 0
    """In a row."""
    busy: bool = False
    """Between calling the sink and having reported; else it waits for a slot, or out a pause."""
    ending: bool = False
    """After what it is busy with, it goes no further."""


class Lanes:
    """All entities that a worker has changes of.

    Args:
        sink: acts on the changes.
        reports: where outcomes are written down.
        concurrency: calls of the sink at a time.
        pauses: after failures.
        finished: told of each record when its outcome is on record in Kafka.
        tasks: owns the tasks, so that one that crashes takes the worker along.
    """

    def __init__(
        self,
        sink: Sink,
        reports: Reports,
        *,
        concurrency: int,
        pauses: Pauses,
        finished: Callable[[LogRecord], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._sink = sink
        self._reports = reports
        self._slots = asyncio.Semaphore(concurrency)
        self._pauses = pauses
        self._finished = finished
        self._tasks = tasks
        self._lanes: dict[str, _Lane] = {}
        self.unfinished = 0
        """Records that are in the lanes, so in memory."""

    def add(self, record: LogRecord) -> None:
        """Queue a record behind the others of its entity; one that is no change goes to the dead letters."""
        try:
            arrival = read_arrival(record)
        except ValueError as error:
            bury = partial(self._bury, record, error)
            self._start(f"{record.partition} {record.offset}", _Lane(busy=True), bury)
            return
        lane = self._lanes.get(arrival.change.key)
        if lane is not None:
            lane.arrivals.append(arrival)
            lane.unfinished += 1
            self.unfinished += 1
        else:
            self._start(arrival.change.key, _Lane(arrivals=deque([arrival])), self._work)

    async def settle(self, within_s: float) -> None:
        """Finish what the sink was called for, give up the rest, and forget everything; nothing is added meanwhile.

        Args:
            within_s: calls that take longer are cancelled.
        """
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.ending = True
            if not lane.busy and lane.task is not None:
                lane.task.cancel()
        running = {lane.task for lane in lanes if lane.task is not None}
        if running:
            _, late = await asyncio.wait(running, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.wait(running)

    def _start(self, key: str, lane: _Lane, work: Callable[[_Lane], Coroutine[Any, Any, None]]) -> None:
        self._lanes[key] = lane
        self.unfinished += 1

        async def run() -> None:
            try:
                await work(lane)
            finally:
                remove()

        def remove() -> None:
            if self._lanes.get(key) is lane:
                del self._lanes[key]
                self.unfinished -= lane.unfinished

        lane.task = self._tasks.create_task(run(), name=f"lane {key}")
        # A task that is cancelled before its first step never gets to its `finally`; otherwise this comes too late:
        # a change that is added between the end of the task and this call would wait for nobody.
        lane.task.add_done_callback(lambda _: remove())

    async def _bury(self, record: LogRecord, error: ValueError, _lane: _Lane) -> None:
        await self._reports.unreadable(record, error)
        self._finished(record)

    async def _work(self, lane: _Lane) -> None:
        while lane.arrivals and not lane.ending:
            async with self._slots:
                lane.busy = True
                try:
                    pause_s = await self._deliver(lane)
                finally:
                    lane.busy = False
            if pause_s and not lane.ending:
                await asyncio.sleep(pause_s)

    async def _deliver(self, lane: _Lane) -> float:
        """Call the sink once, and report what comes of it; returns the seconds to wait."""
        arrivals = list(islice(lane.arrivals, AT_ONCE))
        first = arrivals[0]
        try:
            outcomes = await self._sink.deliver([arrival.change for arrival in arrivals])
        except RetryLater as error:
            first.attempts += 1
            lane.failures += 1
            pause_s = self._pauses.after(lane.failures, asked_s=error.after_s, jitter=random.random())  # noqa: S311
            self._reports.failed(first, error, pause_s=pause_s)
            return pause_s
        except Reject as error:
            first.attempts += 1
            done = [first]
            await self._reports.rejected(first, error)
        else:
            if not 1 <= len(outcomes) <= len(arrivals):
                raise RuntimeError(f"sink {self._sink.name}: {len(outcomes)} outcomes for {len(arrivals)} changes")
            done = arrivals[: len(outcomes)]
            for arrival in done:
                arrival.attempts += 1
            await self._reports.settled(done, outcomes)
        lane.failures = 0
        for arrival in done:
            lane.arrivals.popleft()
            lane.unfinished -= 1
            self.unfinished -= 1
            self._finished(arrival.record)
        return 0.0
