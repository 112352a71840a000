"""Delivers webhook messages by the rules of ServiceTrade's sender: three attempts, then gone for good."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from servicetrade.simulator import journal
from servicetrade.simulator.journal import Entry
from servicetrade.simulator.tasks import Tasks

# Whatever the receiver says in this range counts as delivered, a 404 as much as a 200 (published rules).
DELIVERED = range(200, 500)
# Well below what servers use, so that a connection is not closed under a message and costs it an attempt.
KEEPALIVE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderRules:
    """How messages are delivered.

    Args:
        timeout_s: seconds the receiver has for an answer; 5 is published.
        attempts: POSTs per sending before it is discarded; 3 is published.
        intervals_s: pauses between attempts in seconds; not published, so an assumption. The last repeats.
        concurrency: POSTs under way at once, per account.
    """

    timeout_s: float = 5.0
    attempts: int = 3
    intervals_s: tuple[float, ...] = (1.0, 2.0)
    concurrency: int = 16


def client(rules: SenderRules) -> httpx.AsyncClient:
    """The HTTP client that a sender needs: no redirects, no proxies, no limit but the sender's own."""
    return httpx.AsyncClient(
        follow_redirects=False,
        trust_env=False,
        timeout=rules.timeout_s,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_S),
        headers={"content-type": "application/json"},
    )


class Sender:
    """Sends one account's messages; concurrently, so that later ones may arrive first."""

    def __init__(self, rules: SenderRules, http: httpx.AsyncClient, tasks: Tasks) -> None:
        self._rules = rules
        self._http = http
        self._tasks = tasks
        self._slots = asyncio.Semaphore(rules.concurrency)

    def submit(self, hook_url: str, body: bytes, entry: Entry, *, delay_s: float = 0.0) -> None:
        """Send the body after a delay, in the background; what comes of it is noted in the entry."""
        self._tasks.start(self._deliver(hook_url, body, entry, delay_s))

    async def _deliver(self, hook_url: str, body: bytes, entry: Entry, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        for attempt in range(self._rules.attempts):
            if attempt:
                intervals = self._rules.intervals_s
                await asyncio.sleep(intervals[min(attempt, len(intervals)) - 1])
            async with self._slots:
                # Before the POST: from here on the receiver may have it, whatever we get to see.
                entry.attempts += 1
                status = await self._post(hook_url, body)
            if status in DELIVERED:
                journal.answered(entry, status)
                return
        journal.refused(entry)

    async def _post(self, hook_url: str, body: bytes) -> int:
        """The status, or 0 where there was no answer in time or no connection."""
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                response = await self._http.post(hook_url, content=body)
        except (TimeoutError, httpx.RequestError, httpx.InvalidURL):
            return 0
        return response.status_code
