"""The spool: keeps webhooks on disk while Kafka does not acknowledge; many of them share one fsync."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from ingest.spool_file import SpooledWebhook, SpoolFile
from runtime import metrics
from runtime.logs import log_event
from runtime.settings import SpoolSettings
from schemas.errors import SpoolError

READ_ROWS = 2_000
READ_BYTES = 256 * 1024
RETRY_S = 1.0
"""After a commit that failed, until the next is tried."""
ROOM_AGAIN = 0.9
"""Of max_bytes: a spool that was full has room again when it holds no more than this part."""
STALL_S = 2.0
"""A commit that takes longer is a disk that does not answer."""

_log = logging.getLogger(__name__)

_Added = tuple[Sequence[SpooledWebhook], asyncio.Future[None]]
T = TypeVar("T")


class Spool:
    """One spool file, written and read by one thread, in the order in which it is asked to."""

    def __init__(self, file: SpoolFile, settings: SpoolSettings) -> None:
        contents = file.contents()
        self._file = file
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._last_id = contents.last_id
        self._body_bytes = contents.body_bytes
        self._waiting = Counter(contents.waiting)
        self._parked: set[int] = set()
        self._oldest_ms: int | None = int(time.time() * 1000) if contents.waiting else None
        self._failing = False
        self._full = False
        """A webhook was refused for want of room, and little has gone since."""
        self._commit_began: float | None = None
        # What the next commit does.
        self._work = asyncio.Event()
        self._added: list[_Added] = []
        self._drained: dict[int, int] = {}
        self._to_park: set[int] = set()
        self._work.set()  # so that the first commit tells how old the oldest is
        metrics.SPOOL_OLDEST_SECONDS.set_function(self._oldest_s)
        metrics.SPOOL_ACCEPTING.set_function(self.has_room)
        metrics.SPOOL_PARKED.set(0)
        self._report()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: SpoolSettings) -> AsyncIterator[Spool]:
        """Claim a file of the folder, for as long as the block lasts.

        Raises:
            SpoolError: the folder cannot be used.
        """
        file = await asyncio.to_thread(SpoolFile.claim, settings.folder)
        spool = cls(file, settings)
        try:
            # A group: if committing fails in a way that nobody thought of, the process must not go on without it.
            async with asyncio.TaskGroup() as tasks:
                committing = tasks.create_task(spool._commit_for_ever(), name="spool")
                try:
                    yield spool
                finally:
                    committing.cancel()
        finally:
            spool._thread.shutdown(wait=True)
            # Else the next process would drain again what is drained.
            with suppress(sqlite3.Error):
                file.commit((), spool._drained, spool._to_park)
            file.close()

    @property
    def waiting(self) -> Mapping[int, int]:
        """Webhooks that were in it at the start or were added since, and are not drained, by partition."""
        return self._waiting

    def has_room(self) -> bool:
        """Whether it takes webhooks."""
        return not (self._failing or self._full) and self._why_full(0) is None

    def ready(self) -> Mapping[str, bool]:
        """Condition for /readyz."""
        return {"accepting": self.has_room()}

    def add(self, partition: int, webhooks: Sequence[tuple[str, bytes, bytes]]) -> tuple[int, asyncio.Future[None]]:
        """Add webhooks (account, receipt, body) to a partition, all or none.

        Returns:
            The id of the last, and a future that resolves when all are fsynced, or raises SpoolError.

        Raises:
            SpoolError: there is no room.
        """
        size = sum(len(body) for _, _, body in webhooks)
        if why := self._why_full(size):
            self._full = self._body_bytes > 0
            raise SpoolError(why)
        now_ms = int(time.time() * 1000)
        rows = [
            SpooledWebhook(self._last_id + number, partition, account, receipt, now_ms, body)
            for number, (account, receipt, body) in enumerate(webhooks, start=1)
        ]
        self._last_id += len(rows)
        self._body_bytes += size
        self._waiting[partition] += len(rows)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._added.append((rows, done))
        self._work.set()
        return self._last_id, done

    def drained(self, partition: int, *, up_to: int, count: int, body_bytes: int) -> None:
        """Kafka has the partition's webhooks up to an id; they are removed with the next commit.

        If that fails, or the process dies before, they are drained again, with the same receipts.
        """
        self._drained[partition] = up_to
        self._gone(partition, count, body_bytes)
        metrics.SPOOL_DRAINED.inc(count)
        self._work.set()

    def park(self, webhook: SpooledWebhook) -> None:
        """Set a webhook aside that Kafka refuses for what it is."""
        if webhook.id in self._parked:
            return
        self._to_park.add(webhook.id)
        self._parked.add(webhook.id)
        self._waiting[webhook.partition] -= 1
        metrics.SPOOL_PARKED.set(len(self._parked))
        self._work.set()

    async def read(self, partition: int, *, after: int) -> list[SpooledWebhook]:
        """The next webhooks of the partition that are fsynced, in order; some 1 MiB.

        Raises:
            SpoolError: the file cannot be read.
        """
        try:
            return await self._in_thread(
                partial(self._file.read, partition, after=after, max_rows=READ_ROWS, max_bytes=READ_BYTES)
            )
        except sqlite3.Error as error:
            raise SpoolError(f"the spool cannot be read: {error}") from error

    def _why_full(self, size: int) -> str | None:
        settings = self._settings
        if self._commit_began is not None and time.monotonic() - self._commit_began > STALL_S:
            return "the spool's disk does not answer"
        if self._body_bytes + size > settings.max_bytes:
            return f"the spool holds {self._body_bytes} bytes, and may hold {settings.max_bytes} (spool.max_bytes)"
        if self._oldest_s() > settings.max_age_s:
            return f"the oldest webhook in the spool waits for more than {settings.max_age_s:g} s (spool.max_age_s)"
        return None

    def _oldest_s(self) -> float:
        return 0.0 if self._oldest_ms is None else max(0.0, time.time() - self._oldest_ms / 1000)

    def _gone(self, partition: int, count: int, body_bytes: int) -> None:
        self._waiting[partition] -= count
        self._body_bytes -= body_bytes
        self._full = self._full and self._body_bytes > ROOM_AGAIN * self._settings.max_bytes

    async def _commit_for_ever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            added, self._added = self._added, []
            drained, parked = dict(self._drained), set(self._to_park)
            rows = [row for some, _ in added for row in some]
            self._commit_began = time.monotonic()
            try:
                if self._failing:
                    await self._in_thread(self._file.probe)
                self._oldest_ms = await self._in_thread(partial(self._file.commit, rows, drained, parked))
            except sqlite3.Error as error:
                self._failed(error, added)
                await self._recover()
                continue
            finally:
                self._commit_began = None
            self._failing = False
            for _, done in added:
                if not done.done():
                    done.set_result(None)
            self._forget(drained)
            self._to_park -= parked
            if drained and self._is_empty() and not self._drained:
                await self._make_anew(self._file.shrink)
            self._report()
            if self._failing:
                await self._recover()

    def _failed(self, error: Exception, added: Collection[_Added]) -> None:
        if not self._failing:
            log_event(_log, "ingest.spool_failed", level=logging.ERROR, reason=str(error))
        self._failing = True
        for rows, done in added:
            self._gone(rows[0].partition, len(rows), sum(len(row.body) for row in rows))
            if not done.done():
                done.set_exception(SpoolError(f"the spool's disk: {error}"))

    async def _recover(self) -> None:
        """Removing rows needs space as well; a file whose webhooks are all in Kafka can be made anew without any."""
        if self._is_empty():
            await self._make_anew(self._file.make_anew)
        self._report()
        await asyncio.sleep(RETRY_S)
        self._work.set()

    async def _make_anew(self, make: Callable[[], None]) -> None:
        drained = dict(self._drained)
        try:
            await self._in_thread(make)
        except (sqlite3.Error, OSError) as error:
            self._failed(error, ())
        else:
            self._forget(drained)

    def _forget(self, drained: Mapping[int, int]) -> None:
        """These are removed from the file; what was drained since is not."""
        self._drained = {key: id_ for key, id_ in self._drained.items() if drained.get(key) != id_}

    def _is_empty(self) -> bool:
        return not self._added and not self._parked and not any(self._waiting.values())

    def _report(self) -> None:
        metrics.SPOOL_WEBHOOKS.set(sum(self._waiting.values()))
        metrics.SPOOL_BYTES.set(self._body_bytes)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
