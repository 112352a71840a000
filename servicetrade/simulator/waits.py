"""Keeps requests waiting until a condition comes true, a time is over, or the server ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class Waits:
    """The waits of one account's requests; none outlives the server, whose end would stall on it."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._closed = False

    async def until(self, over: Callable[[], bool]) -> None:
        """Wait until `over()` is true; it is asked at once and after every `look_again`."""
        while not (self._closed or over()):
            await self._changed.wait()

    async def seconds(self, delay_s: float) -> None:
        """Wait for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self.until(lambda: False)

    def look_again(self) -> None:
        """Something changed that a wait may be for."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """End all waits, also those to come."""
        self._closed = True
        self.look_again()
