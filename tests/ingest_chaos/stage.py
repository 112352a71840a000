"""What scenarios act on, and the steps that they share."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from runtime.kafka import LogReader
from schemas.topics import WEBHOOKS
from tests.chaos.cluster import Cluster
from tests.chaos.node import Node
from tests.ingest_chaos.process import Ingest
from tests.ingest_chaos.sender import Load

READY_DEADLINE_S = 30.0
DRAIN_DEADLINE_S = 90.0
SEEN_DEADLINE_S = 45.0
STILL_S = 1.5
WATCH_S = 0.2
QUICK_S = 0.02
Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Stage:
    """One run's broker, ingest and load; `problems` are what is wrong besides the verdict on the log."""

    cluster: Cluster
    ingest: Ingest
    load: Load
    rng: Random
    seconds: float
    """How long the broker is away."""
    requests: int
    """How many the fuzzer sends."""
    say: Say
    problems: list[str] = field(default_factory=list)
    readiness: Counter[tuple[int, object, object]] = field(default_factory=Counter)
    """How often /readyz answered (status, accepting, broker)."""

    @property
    def node(self) -> Node:
        """The only broker."""
        return self.cluster.nodes[0]

    async def watch(self) -> None:
        """Ask /readyz until cancelled, and hold it to what it promises."""
        while True:
            status, told = await self.ingest.ready()
            if status and told.get("started", True):
                self.readiness[status, told.get("accepting"), told.get("broker")] += 1
            await asyncio.sleep(WATCH_S)

    def expect_readiness(self, *wanted: object) -> None:
        """It is a problem if /readyz never answered so."""
        if not any(seen[: len(wanted)] == wanted for seen in self.readiness):
            told = f"/readyz never answered (status, accepting, broker) = {wanted}"
            self.problems.append(f"{told}, but {dict(self.readiness)}")

    async def until(
        self, what: str, condition: Callable[[], Awaitable[bool]], deadline_s: float, *, poll_s: float = WATCH_S
    ) -> bool:
        """Wait for a condition; that it does not come true in time is a problem."""
        began = time.monotonic()
        while not await condition():
            if time.monotonic() - began > deadline_s:
                self.problems.append(f"within {deadline_s:g} s: not {what}; spool: {self.spool()}")
                return False
            await asyncio.sleep(poll_s)
        self.say(f"{what} after {time.monotonic() - began:.1f} s")
        return True

    def spool(self) -> str:
        """The spool's figures as last read."""
        figures = {name: value for name, value in self.ingest.gauges.items() if name.startswith("tradewind_spool")}
        return ", ".join(f"{name.removeprefix('tradewind_spool_')} {value:g}" for name, value in figures.items())

    async def end_ingest(self, when: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """Signal ingest, and wait until its successor answers /readyz, whatever it says."""
        spool = self.spool()
        code = await self.ingest.end(signum)
        if signum == signal.SIGTERM and code != 0:
            self.problems.append(f"ingest, stopped {when}, ended with {code}")
        began, status = time.monotonic(), 0
        while not status and time.monotonic() - began < READY_DEADLINE_S:
            await asyncio.sleep(QUICK_S)
            status, told = await self.ingest.ready()
            if not told.get("started", True):
                status = 0
        took = time.monotonic() - began
        if not status:
            self.problems.append(f"after {signum.name} {when} ingest did not start again within {READY_DEADLINE_S:g} s")
        self.say(
            f"{signum.name} to ingest {when} ({spool or 'spool unknown'}), /readyz answers {status} after {took:.1f} s"
        )

    async def outage(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """Let `seconds` pass, and signal ingest twice meanwhile, at moments that the seed chooses."""
        began = time.monotonic()
        for number in range(2):
            share = (number + self.rng.uniform(0.3, 0.9)) / 2
            await asyncio.sleep(max(0.0, began + self.seconds * share - time.monotonic()))
            await self.end_ingest(f"{time.monotonic() - began:.1f} s into the outage", signum)
        await asyncio.sleep(max(0.0, began + self.seconds - time.monotonic()))

    async def start_broker(self) -> None:
        """Start the broker on the data that it had, and wait until it answers."""
        await self.node.start()
        self.say(f"broker answers {await self.node.up():.1f} s after its start; spool: {self.spool()}")

    async def end_while_draining(self, signum: signal.Signals = signal.SIGKILL) -> None:
        """Wait until the spool has begun to shrink, and signal ingest within a moment."""
        began, before = time.monotonic(), self.ingest.count("tradewind_spool_drained_total")
        while time.monotonic() - began < READY_DEADLINE_S:
            await self.ingest.read_metrics()
            if self.ingest.count("tradewind_spool_drained_total") > before:
                break
            await asyncio.sleep(QUICK_S)
        else:
            self.say("nothing was drained so far")
        await asyncio.sleep(self.rng.uniform(0, 0.15))
        await self.end_ingest("while draining", signum)

    async def drained(self) -> bool:
        """Whether ingest says now that its spool is empty."""
        return await self.ingest.read_metrics() and self.ingest.gauges.get("tradewind_spool_webhooks", 0) == 0

    async def settle(self) -> None:
        """Wait until the spool is empty and the raw log has stopped growing."""
        last: list[int] = []
        still_since = time.monotonic()
        async with LogReader.open(self.cluster.direct, client_id="ingest-chaos-settle") as reader:
            parts = await reader.partitions(WEBHOOKS.name)

            async def settled() -> bool:
                nonlocal last, still_since
                ends = [end for _, end in sorted((await reader.ends(parts)).items(), key=str)]
                if ends != last or not await self.drained():
                    last, still_since = ends, time.monotonic()
                return time.monotonic() - still_since > STILL_S

            await self.until("everything drained", settled, DRAIN_DEADLINE_S)
