"""Group commit: what waits for the store at the same time shares one transaction, one fsync and a few statements."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from runtime.database import Database

Job = TypeVar("Job")

Perform: TypeAlias = Callable[[Any, Sequence[Job]], Awaitable[Sequence[Any]]]
"""Does jobs within a transaction, which it neither commits nor rolls back; gets the connection, gives the results."""

MOST = 100
"""Jobs in one transaction: it keeps all other processes from writing for some milliseconds."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Job]):
    job: Job
    result: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class _Attempt:
    """One transaction, and what came of it."""

    results: Sequence[Any] | None = None
    begun: bool = False
    error: BaseException | None = None

    async def run(self, engine: Database, perform: Perform[Job], jobs: Sequence[Job]) -> None:
        async with engine.begin() as connection:
            self.begun = True
            self.results = await perform(connection, jobs)

    @property
    def spoilt(self) -> bool:
        """One of the jobs cannot be done; the transaction did begin."""
        return self.begun and self.results is None

    def tell(self, group: Sequence[_Waiting[Any]]) -> None:
        for position, waiting in enumerate(group):
            if waiting.result.done():  # whoever waited for it has gone
                continue
            if self.error is None and self.results is not None:
                waiting.result.set_result(self.results[position])
            else:
                waiting.result.set_exception(self.error or asyncio.InvalidStateError())


class GroupCommit(Generic[Job]):
    """One transaction at a time, made of what has come while the one before was under way; no timer collects.

    Args:
        engine: the store.
        perform: does jobs. Those of a transaction that fails are done again, each in a transaction of its own, so that
            one that cannot be done fails no other.
        most: jobs in one transaction.
    """

    def __init__(self, engine: Database, perform: Perform[Job], *, most: int = MOST) -> None:
        self._engine = engine
        self._perform = perform
        self._most = most
        self._queue: deque[_Waiting[Job]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def run(self, job: Job) -> Any:
        """Do a job and commit it, with others or alone; returns its result.

        Raises:
            Exception: what doing it raised, or the database.
        """
        waiting = _Waiting(job, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="group commit")
        return await waiting.result

    async def _work(self) -> None:
        group: list[_Waiting[Job]] = []
        try:
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
                await self._settle(group)
        finally:
            self._task = None
            for waiting in (*group, *self._queue):  # only if this task was cancelled is there one that is not done
                waiting.result.cancel()

    async def _settle(self, group: Sequence[_Waiting[Job]]) -> None:
        attempt = await self._try(group)
        if not attempt.spoilt or len(group) == 1:
            attempt.tell(group)
            return
        for position, waiting in enumerate(group):
            alone = await self._try([waiting])
            if alone.error is not None and not alone.begun:
                # The database is away, and would be for each of the others, after a wait each.
                alone.tell(group[position:])
                return
            alone.tell([waiting])

    async def _try(self, group: Sequence[_Waiting[Job]]) -> _Attempt:
        attempt = _Attempt()
        task = asyncio.ensure_future(attempt.run(self._engine, self._perform, [waiting.job for waiting in group]))
        await asyncio.wait({task})
        attempt.error = task.exception()
        return attempt
