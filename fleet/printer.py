"""Writes lines to stdout from a thread of its own, so that a reader who pauses stops no process."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable

_MOST_LINES = 5_000
_FLUSH_S = 2.0


class Printer:
    """Takes lines at once, and writes them as fast as they are read.

    Who selects text in a terminal, or pages through a pipe, stops reading. Were lines written by who supervises, the
    processes' pipes would fill, and then ingest would stand still. Here lines that nobody reads are left out, and
    counted; the log files have them. A reader who has gone is no failure either.

    Args:
        fileno: where to write to.
        left_out: gives the line that says how many were left out.
    """

    def __init__(self, fileno: int, *, left_out: Callable[[int], str]) -> None:
        self._fileno = fileno
        self._left_out = left_out
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_LINES)
        self._unread = 0
        # A daemon: nobody waits at the end for a reader that never reads on.
        self._thread = threading.Thread(target=self._write_all, name="printer", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Write a line, some time."""
        try:
            if self._unread:
                self._lines.put_nowait(self._left_out(self._unread))
                self._unread = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._unread += 1

    def close(self) -> None:
        """Wait until all is written, but no longer than 2 s."""
        end = time.monotonic() + _FLUSH_S
        try:
            if self._unread:
                self._lines.put(self._left_out(self._unread), timeout=_FLUSH_S)
            self._lines.put(None, timeout=max(0.0, end - time.monotonic()))
        except queue.Full:
            return
        self._thread.join(max(0.0, end - time.monotonic()))

    def is_alive(self) -> bool:
        """Whether something is still being written."""
        return self._thread.is_alive()

    def _write_all(self) -> None:
        somebody_reads = True
        while (line := self._lines.get()) is not None:
            if somebody_reads:
                try:
                    self._write(f"{line}\n".encode("utf-8", "replace"))
                except OSError:
                    somebody_reads = False

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fileno, data) :]
            except BlockingIOError:  # somebody who shares the terminal has made it so
                select.select([], [self._fileno], [])
