"""Keeps one account's requests of this process few, and silent while ServiceTrade asks for a pause."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.errors import ApiError

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TOO_MANY_REQUESTS = 429


class Governor:
    """Bounds the requests at a time and spreads one request's pause to all of the account.

    Args:
        concurrency: requests at a time.
        longest_wait_s: a request waits for a pause of so many seconds at most; with more to go it fails at once,
            so that its caller can put the work aside.
    """

    def __init__(self, concurrency: int, *, longest_wait_s: float = 60.0) -> None:
        self._slots = asyncio.Semaphore(concurrency)
        self._longest_wait_s = longest_wait_s
        self._resume_at = 0.0
        self._failures = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold one of the slots, once no pause is on.

        Raises:
            ApiError: 429, if the pause goes on for longer than `longest_wait_s`; nothing was sent.
        """
        async with self._slots:
            while (left := self._resume_at - time.monotonic()) > 0:
                if left > self._longest_wait_s:
                    raise ApiError(_TOO_MANY_REQUESTS, ("paused on ServiceTrade's request",), retry_after_s=left)
                await asyncio.sleep(left)
            yield

    def succeeded(self) -> None:
        """ServiceTrade answers properly: the next pause is a short one again."""
        self._failures = 0

    def pause(self, retry_after_s: float | None) -> None:
        """Begin a pause that is longer each time, jittered, and not below Retry-After.

        Failures of requests that were under way when a pause began do not make it grow.
        """
        now = time.monotonic()
        if now >= self._resume_at:
            pause = min(_FIRST_PAUSE_S * 2.0 ** min(self._failures, 16), _LONGEST_PAUSE_S)
            self._failures += 1
            self._resume_at = now + pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
        if retry_after_s is not None:
            self._resume_at = max(self._resume_at, now + retry_after_s)
