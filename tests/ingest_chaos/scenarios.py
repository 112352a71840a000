"""What is done to ingest: each scenario runs while the load runs, and notes what is wrong besides the raw log."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runtime.broker_config import HOST
from tests.ingest.fuzz import fuzz
from tests.ingest_chaos.process import path_of
from tests.ingest_chaos.sender import FUZZED
from tests.ingest_chaos.stage import DRAIN_DEADLINE_S, QUICK_S, SEEN_DEADLINE_S, Stage

SMALL_DISK_MB = 8
SMALL_SPOOL_BYTES = 1_000_000
SOME_SPOOLED = 20
SOME_AFTER = 50
RACES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario, and what it needs."""

    act: Callable[[Stage], Awaitable[None]]
    proxied: bool = False
    """Whether ingest reaches the broker through the proxy."""
    small_disk: bool = False
    max_bytes: int = 1_073_741_824
    outages: bool = True
    """Whether something has to be spooled."""
    most_per_s: float = 1_000.0


async def killed(stage: Stage) -> None:
    """SIGKILL the broker; kill ingest twice while it is away, and once more while the spool drains."""
    await _broker_away(stage, signal.SIGKILL)


async def stopped(stage: Stage) -> None:
    """The same with SIGTERM to ingest, as when a new version is rolled out in an outage."""
    await _broker_away(stage, signal.SIGTERM)


async def _broker_away(stage: Stage, signum: signal.Signals) -> None:
    await asyncio.sleep(max(1.0, stage.seconds / 20))
    await stage.node.kill()
    stage.say("broker killed")
    await stage.outage(signum)
    stage.expect_readiness(200, True, False)
    await stage.start_broker()
    await stage.end_while_draining(signum)
    await asyncio.sleep(max(1.0, stage.seconds / 10))


async def raced(stage: Stage) -> None:
    """SIGKILL ingest, and the broker at some moment while ingest starts again; several times."""
    for number in range(RACES):
        starts = stage.ingest.starts()

        async def starting(before: int = starts) -> bool:
            return stage.ingest.starts() > before

        ending = asyncio.create_task(stage.end_ingest(f"before outage {number + 1}"))
        await stage.until("ingest starting", starting, SEEN_DEADLINE_S, poll_s=QUICK_S)
        await asyncio.sleep(stage.rng.uniform(0.02, 0.3))
        await stage.node.kill()
        stage.say("broker killed while ingest starts")
        await ending
        await asyncio.sleep(stage.seconds / RACES)
        await stage.start_broker()
        await stage.until("drained", stage.drained, DRAIN_DEADLINE_S)
    stage.expect_readiness(200, True, False)


async def mute(stage: Stage) -> None:
    """Let the broker accept connections and say nothing; kill ingest twice meanwhile, and once more afterwards."""
    await asyncio.sleep(max(1.0, stage.seconds / 20))
    (proxy,) = stage.cluster.proxies
    proxy.stall()
    stage.say("broker mute")
    await stage.outage()
    stage.expect_readiness(200, True)
    if stage.rng.random() < 0.5:
        stage.say(f"{proxy.cut()} connections reset, what they held is lost")
    proxy.resume()
    stage.say(f"broker speaks again; spool: {stage.spool()}")
    await stage.end_while_draining()
    await asyncio.sleep(max(1.0, stage.seconds / 10))


async def full_disk(stage: Stage) -> None:
    """Fill the spool while the broker is away, kill ingest while it is full and while it drains; then do it again."""
    await asyncio.sleep(max(1.0, stage.seconds / 20))
    await stage.node.kill()
    stage.say("broker killed")

    async def refuses() -> bool:
        status, told = await stage.ingest.ready()
        await stage.ingest.read_metrics()
        return status == 503 and told.get("accepting") is False and stage.ingest.count("received/unavailable") > 0

    await stage.until("the spool full, and webhooks answered 503", refuses, stage.seconds + SEEN_DEADLINE_S)
    stage.say(f"spool: {stage.spool()}")
    await stage.end_ingest("while the spool is full")
    await asyncio.sleep(stage.seconds / 4)
    await stage.start_broker()
    await stage.end_while_draining()

    async def accepts() -> bool:
        status, told = await stage.ingest.ready()
        return status == 200 and told.get("accepting") is True and await stage.drained()

    await stage.until("all drained, and accepting again", accepts, DRAIN_DEADLINE_S)
    before = stage.ingest.count("received/spooled")
    await stage.node.kill()
    stage.say("broker killed again")

    async def spools() -> bool:
        await stage.ingest.read_metrics()
        return stage.ingest.count("received/spooled") - before >= SOME_SPOOLED

    await stage.until("spooling again", spools, SEEN_DEADLINE_S)
    await asyncio.sleep(stage.seconds / 8)
    await stage.start_broker()
    await stage.until("all drained again", accepts, DRAIN_DEADLINE_S)


async def fuzzed(stage: Stage) -> None:
    """Send what no sender should send beside the load, on accounts of its own; good ones work after it."""
    paths = [path_of(account) for account in FUZZED]
    seed = stage.rng.randrange(2**32)
    report = await fuzz(HOST, stage.ingest.port, valid_paths=paths, seed=seed, requests=stage.requests)
    stage.say(report.line())
    if report.lost:
        stage.problems.append(f"answers that a sender takes for delivered: {dict(report.lost)}")
    if report.garbled or report.unreachable:
        stage.problems.append(f"{report.garbled} answers were no HTTP, {report.unreachable} connections refused")
    after = time.monotonic()

    async def works() -> bool:
        return sum(message.began > after for message in stage.load.sent) >= SOME_AFTER

    await stage.until("good webhooks answered after it", works, SEEN_DEADLINE_S)
    refused = sum(message.began > after and message.answered_2xx is None for message in stage.load.sent)
    if refused:
        stage.problems.append(f"{refused} good webhooks were refused after the fuzzing")


SCENARIOS = {
    "killed": Scenario(act=killed),
    "mute": Scenario(act=mute, proxied=True),
    "stopped": Scenario(act=stopped),
    "raced": Scenario(act=raced),
    "full-disk": Scenario(act=full_disk, small_disk=True),
    "full-spool": Scenario(act=full_disk, max_bytes=SMALL_SPOOL_BYTES),
    "fuzz": Scenario(act=fuzzed, outages=False, most_per_s=50.0),
}
