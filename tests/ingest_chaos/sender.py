"""A sender like ServiceTrade's, and the load: streams that send one after the other, and a crowd that does not wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tests.ingest_chaos.bodies import Bodies, Body
from tests.ingest_chaos.client import Client
from tests.ingest_chaos.verdict import Attempt, Sent

PAUSES_S = (1.0, 2.0)
"""Between the three attempts."""
STREAMS = tuple(f"stream-{number}" for number in range(6))
"""Accounts with one sender each, whose next message follows the answer to the one before."""
CROWD = tuple(f"crowd-{number}" for number in range(4))
"""Accounts with many senders at the same time."""
FUZZED = ("fuzz-0", "fuzz-1")
"""Accounts of which anything may stand in the log; the load leaves them alone."""
STREAMS_SHARE = 0.25
"""Of the rate, if every answer comes at once."""
MOST_AT_A_TIME = 500
"""Messages of the crowd under way, below the receiver's limit of connections; the load slackens rather than pile up."""


@dataclass(slots=True, kw_only=True)
class Load:
    """Sends at about `rate` messages per second until cancelled; `finish` waits for what is under way."""

    client: Client
    paths: Mapping[str, str]
    rate: float
    seed: int
    sent: list[Sent] = field(default_factory=list)
    held_back: int = 0
    """How often the crowd had to wait because MOST_AT_A_TIME were under way."""
    _stopping: bool = False
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Send until `stop`, and until every message is answered or given up: at most some 20 s more."""
        async with asyncio.TaskGroup() as group:
            for account in STREAMS:
                group.create_task(self._stream(self._bodies(account)))
            group.create_task(self._crowd())

    def stop(self) -> None:
        """Begin no more messages."""
        self._stopping = True

    def _bodies(self, account: str) -> Bodies:
        return Bodies(account=account, rng=Random(f"{self.seed}/{account}"))

    async def _stream(self, bodies: Bodies) -> None:
        pause_s = len(STREAMS) / (STREAMS_SHARE * self.rate)
        due = time.monotonic()
        while not self._stopping:
            await self.deliver(bodies.account, bodies.next(int(time.time())))
            due = max(due + pause_s, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _crowd(self) -> None:
        rng, writers = Random(f"{self.seed}/crowd"), [self._bodies(account) for account in CROWD]
        rate, due = (1 - STREAMS_SHARE) * self.rate, time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                if len(self._under_way) >= MOST_AT_A_TIME:
                    self.held_back += 1
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                    continue
                bodies = rng.choice(writers)
                task = group.create_task(self.deliver(bodies.account, bodies.next(int(time.time()))))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                due = max(due + rng.expovariate(rate), time.monotonic() - 1.0)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def deliver(self, account: str, body: Body) -> None:
        """Up to three attempts; the outcome is put into `sent`."""
        attempts: list[Attempt] = []
        for pause_s in (*PAUSES_S, None):
            attempts.append(await self.client.post(self.paths[account], body.value))
            status = attempts[-1].status
            if pause_s is None or (status is not None and 200 <= status < 300):
                break
            await asyncio.sleep(pause_s)
        self.sent.append(
            Sent(
                account=account,
                message_id=body.message_id,
                body=body.value,
                readable=body.readable,
                attempts=tuple(attempts),
            )
        )
