"""One run: start everything, load it, break it, let it settle, and hold what came out against the oracle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from runtime.kafka import KafkaError, LogReader, Producer
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings, ProcessorsSettings
from schemas.pipeline import PipelineTimes
from schemas.topics import CHANGES, DEADLETTERS, RULES, WEBHOOKS
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.faults import CLUSTER, SINGLE, Stage
from tests.chaos.load import ACCOUNTS, PARTITIONS, Load
from tests.chaos.plan import Plan
from tests.chaos.reading import Judgement, Picture, judge, read_all, settle
from tests.chaos.report import Outcome
from tests.chaos.workers import Workers, write_config

TIMES = PipelineTimes(horizon_s=15, memory_s=30, max_ceiling_s=4)
NAMES = ("processors-1", "processors-2")
SETTLE_S = {"single": 90.0, "cluster": 120.0}
COUNT_S = 1.0
COUNT_DEADLINE_S = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run: the seed, the seconds of load, `single` or `cluster`, and a folder to do it in."""

    seed: int
    seconds: float
    profile: str
    folder: Path


@dataclass(slots=True)
class Progress:
    """How many changes stand in the topic, as of a moment ago."""

    changes: int = 0

    async def watch(self, kafka: KafkaSettings) -> None:
        """Count until cancelled; while the brokers cannot say, the last count stands."""
        while True:
            try:
                async with LogReader.open(kafka, client_id="chaos-progress") as reader:
                    while True:
                        async with asyncio.timeout(COUNT_DEADLINE_S):
                            parts = await reader.partitions(CHANGES.name)
                            self.changes = sum([await reader.end(part) for part in parts])
                        await asyncio.sleep(COUNT_S)
            except (KafkaError, TimeoutError):
                await asyncio.sleep(COUNT_S)


async def run(order: Order, say: Say) -> Outcome:
    """Do one run and judge it.

    Raises:
        BrokerDown: Kafka could not be started.
    """
    async with AsyncExitStack() as stack:
        size = 3 if order.profile == "cluster" else 1
        cluster = await stack.enter_async_context(running_cluster(order.folder, size=size))
        workers = await stack.enter_async_context(_working(order, cluster, say))
        producer = await stack.enter_async_context(Producer.open(cluster.direct, client_id="chaos-load"))
        load = Load(producer, order.seed)
        faults, loaded_s = await _disturb(order, cluster, workers, load, say)
        say(f"load ended after {load.sent} records, {load.ambiguous} sends of unknown end; settling")
        settled, picture, judgement = await _end(order, cluster, workers, say)
        return Outcome(
            seconds=loaded_s,
            faults=faults,
            settled=settled,
            sent=load.sent,
            ambiguous=load.ambiguous,
            kept=load.kept,
            exits=workers.unexpected(),
            broker_deaths=[code for node in cluster.nodes for code in node.deaths()],
            picture=picture,
            judgement=judgement,
        )


@asynccontextmanager
async def _working(order: Order, cluster: Cluster, say: Say) -> AsyncIterator[Workers]:
    """Topics as the product makes them, and workers that are ready."""
    topics = [replace(topic, partitions=PARTITIONS) for topic in (WEBHOOKS, CHANGES, DEADLETTERS)]
    await ensure_topics(cluster.direct, [*topics, RULES])
    config = order.folder / "tradewind.toml"
    write_config(config, cluster.proxied, TIMES, list(ACCOUNTS))
    async with Workers(folder=order.folder, config=config, began=time.monotonic()) as workers:
        for name in NAMES:
            workers.start(name)
        for name in NAMES:
            took = await workers.ready(name)
            say(f"{name}: {'NOT ready' if took is None else 'ready'}")
        yield workers


async def _end(order: Order, cluster: Cluster, workers: Workers, say: Say) -> tuple[bool, Picture, Judgement]:
    """Let everything settle, stop the workers, read everything once more; tells whether it settled."""
    kafka = cluster.direct
    settled = await settle(kafka, group=ProcessorsSettings().group, times=TIMES, deadline_s=SETTLE_S[order.profile])
    say("NOT settled" if settled is None else f"settled after {settled.after_s:.1f} s")
    for name in workers.names():
        say(await workers.retire(name))
    picture = await read_all(kafka)
    if settled is not None and settled.picture == picture:
        return True, picture, settled.judgement  # the same topics: the oracle would say the same
    return settled is not None, picture, await asyncio.to_thread(judge, picture, times=TIMES, epoch=kafka.log_epoch)


async def _disturb(order: Order, cluster: Cluster, workers: Workers, load: Load, say: Say) -> tuple[int, float]:
    """Run the load and the faults beside each other; gives the number of faults and the seconds of load."""
    began = workers.began = time.monotonic()
    stage = Stage(cluster=cluster, workers=workers, rng=Random(f"{order.seed}/faults"))
    async with _watching(cluster.direct) as progress, asyncio.TaskGroup() as group:
        loading = group.create_task(load.run())
        faults = await _break(order, stage, progress, say)
        await asyncio.sleep(order.seconds - (time.monotonic() - began))
        loading.cancel()
    loaded_s = time.monotonic() - began
    await load.flush()
    return faults, loaded_s


@asynccontextmanager
async def _watching(kafka: KafkaSettings) -> AsyncIterator[Progress]:
    progress = Progress()
    watcher = asyncio.create_task(progress.watch(kafka))
    try:
        yield progress
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])


async def _break(order: Order, stage: Stage, progress: Progress, say: Say) -> int:
    kinds = CLUSTER if order.profile == "cluster" else SINGLE
    plan = Plan(Random(f"{order.seed}/plan"), kinds)
    began, count = time.monotonic(), 0
    while (step := plan.next(order.seconds - (time.monotonic() - began))) is not None:
        pause_s, kind = step
        await asyncio.sleep(pause_s)
        at, before = time.monotonic() - began, progress.changes
        observed = await kind.act(stage)
        count += 1
        grown = progress.changes - before
        say(f"{at:6.1f} s  {kind.name}: {observed}; {grown} changes appended in {time.monotonic() - began - at:.1f} s")
    return count
