"""Owns the tasks that run beside the server, so that none outlives it or fails unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Tasks of one TaskGroup that can all be cancelled at the end."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine; an exception of its own ends the whole group."""
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def cancel_all(self) -> None:
        """Cancel whatever still runs."""
        for task in list(self._running):
            task.cancel()
