"""The spool's file: webhooks in SQLite, fsynced before a commit returns, owned by one process."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from runtime.logs import log_event
from schemas.errors import SpoolError

_log = logging.getLogger(__name__)

PROBE_BYTES = 64 * 1024
SHRINK_BYTES = 16 * 1024 * 1024
"""An empty file that is larger is made anew, which gives the disk its space back."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
    id INTEGER PRIMARY KEY,
    partition INTEGER NOT NULL,
    account TEXT NOT NULL,
    receipt BLOB NOT NULL,
    spooled_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    parked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS webhooks_by_partition ON webhooks (partition, parked, id);
"""


@dataclass(frozen=True, slots=True)
class SpooledWebhook:
    """One webhook in the spool."""

    id: int
    """Grows with every webhook that is spooled: the order that they are drained in."""
    partition: int
    account: str
    receipt: bytes
    spooled_ms: int
    """Unix milliseconds by this machine's clock; tells how long it waits."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a spool holds."""

    waiting: Mapping[int, int]
    """Webhooks that wait, by partition."""
    body_bytes: int
    last_id: int


class SpoolFile:
    """One spool. Not thread-safe: one thread at a time.

    Every method may raise sqlite3.Error: the disk is full, or fails. Nothing has changed then.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._connection = self._open()
        # Whoever restarts ingest may have mended what Kafka refused them for.
        self._connection.execute("UPDATE webhooks SET parked = 0 WHERE parked = 1")

    @classmethod
    def claim(cls, folder: Path) -> SpoolFile:
        """Take a file of the folder that no other process has, and what is left in others that nobody has.

        Raises:
            SpoolError: the folder cannot be used.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = (folder / f"spool-{number}.db" for number in count(1))
            own = next(cls(path, lock) for path in paths if (lock := _lock(path.with_suffix(".lock"))) is not None)
        except (OSError, sqlite3.Error) as error:
            raise SpoolError(f"ingest.spool.folder: {folder} cannot be used: {error}") from error
        for other in sorted(folder.glob("spool-*.db")):
            own.absorb_if_left(other)
        return own

    def contents(self) -> Contents:
        """What is in it."""
        waiting = dict(
            self._connection.execute("SELECT partition, count(*) FROM webhooks WHERE parked = 0 GROUP BY partition")
        )
        found = self._connection.execute("SELECT coalesce(sum(length(body)), 0), coalesce(max(id), 0) FROM webhooks")
        body_bytes, last_id = found.fetchone()
        return Contents(waiting=waiting, body_bytes=body_bytes, last_id=last_id)

    def commit(
        self, added: Iterable[SpooledWebhook], drained: Mapping[int, int], parked: Iterable[int] = ()
    ) -> int | None:
        """Add, remove and set aside in one transaction; fsynced when it returns.

        Args:
            added: new webhooks.
            drained: by partition, the id up to which Kafka has all that is not parked.
            parked: ids of webhooks that Kafka refuses for what they are.

        Returns:
            Unix milliseconds when the oldest that waits was spooled; None if none waits.
        """
        rows = [(row.id, row.partition, row.account, row.receipt, row.spooled_ms, row.body) for row in added]
        with self._connection:  # commits, or rolls back on an exception
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO webhooks (id, partition, account, receipt, spooled_ms, body) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._connection.executemany("UPDATE webhooks SET parked = 1 WHERE id = ?", [(id_,) for id_ in parked])
            self._connection.executemany(
                "DELETE FROM webhooks WHERE partition = ? AND parked = 0 AND id <= ?", drained.items()
            )
            # Before the commit: a read that fails after it would pass for a commit that failed.
            found = self._connection.execute("SELECT spooled_ms FROM webhooks WHERE parked = 0 ORDER BY id LIMIT 1")
            oldest = found.fetchone()
        return None if oldest is None else int(oldest[0])

    def read(self, partition: int, *, after: int, max_rows: int, max_bytes: int) -> list[SpooledWebhook]:
        """The next webhooks of a partition, at least one if there is any, until `max_bytes` of bodies are reached."""
        found: list[SpooledWebhook] = []
        size = 0
        query = (
            "SELECT id, partition, account, receipt, spooled_ms, body FROM webhooks "
            "WHERE partition = ? AND parked = 0 AND id > ? ORDER BY id LIMIT ?"
        )
        with closing(self._connection.execute(query, (partition, after, max_rows))) as rows:
            for row in rows:
                found.append(SpooledWebhook(*row))
                size += len(found[-1].body)
                if size >= max_bytes:
                    break
        return found

    def probe(self) -> None:
        """Write a little, to see whether the disk takes it again."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("REPLACE INTO probe (id, body) VALUES (1, ?)", (os.urandom(PROBE_BYTES),))

    def shrink(self) -> None:
        """Make the file anew if it is large; only when all that it holds is in Kafka."""
        if self._path.stat().st_size > SHRINK_BYTES:
            self.make_anew()

    def make_anew(self) -> None:
        """Throw away all that it holds, because it is in Kafka; needs no space on the disk, unlike deleting rows."""
        self._connection.close()
        _remove(self._path)
        self._connection = self._open()

    def close(self) -> None:
        """Release it; a process that starts later takes what is left."""
        self._connection.close()
        os.close(self._lock)

    def _open(self) -> sqlite3.Connection:
        new = not self._path.exists()
        # The bodies are customers' data: for the owner only. SQLite gives -wal the mode of the file.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        # Nobody else opens it, so the WAL's index need not be in shared memory.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL may lose the last commits with the power, and by then they are answered 2xx.
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        if new:
            _sync_folder(self._path.parent)
        return connection

    def absorb_if_left(self, path: Path) -> None:
        """Take what is in another file, if no other process has it."""
        if path == self._path or (lock := _lock(path.with_suffix(".lock"))) is None:
            return
        try:
            self._absorb(path)
        except (OSError, sqlite3.Error) as error:
            # Its webhooks were answered 2xx; but not to start would refuse all that come now.
            log_event(_log, "ingest.spool_failed", level=logging.ERROR, file=str(path), reason=str(error))
        finally:
            os.close(lock)

    def _absorb(self, path: Path) -> None:
        """Take what a process that is no longer there has left."""
        self._connection.execute("ATTACH DATABASE ? AS other", (str(path),))
        made = self._connection.execute("SELECT 1 FROM other.sqlite_schema WHERE name = 'webhooks'")
        if made.fetchone():
            # Each id anew: both files count from 1. After a crash in between they are there twice, same receipts.
            self._connection.execute(
                "INSERT INTO main.webhooks (partition, account, receipt, spooled_ms, body) "
                "SELECT partition, account, receipt, spooled_ms, body FROM other.webhooks ORDER BY id"
            )
        self._connection.execute("DETACH DATABASE other")
        _remove(path)


def _remove(path: Path) -> None:
    """A database with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _lock(path: Path) -> int | None:
    """An open, locked file descriptor; None if another process has it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _sync_folder(folder: Path) -> None:
    """A new file outlives a power cut only if its folder's entry is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
