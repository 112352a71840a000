"""One run: a broker, ingest and a load; break them, let them settle, and hold the raw log against the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from runtime.kafka import LogReader
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.record import LogRecord
from schemas.topics import WEBHOOKS
from tests.chaos.cluster import Cluster, running_cluster
from tests.ingest_chaos.changes import judge_changes
from tests.ingest_chaos.client import Client
from tests.ingest_chaos.disk import small_disk
from tests.ingest_chaos.ingest_log import read_log
from tests.ingest_chaos.process import SECRETS, Ingest, Setup, path_of
from tests.ingest_chaos.report import Outcome
from tests.ingest_chaos.scenarios import SCENARIOS, SMALL_DISK_MB, Scenario
from tests.ingest_chaos.sender import CROWD, FUZZED, STREAMS, Load
from tests.ingest_chaos.stage import READY_DEADLINE_S, Say, Stage
from tests.ingest_chaos.verdict import Sent, judge

LATE_SHOWN = 30
ACCOUNTS = (*STREAMS, *CROWD, *FUZZED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run, in which folder; `seconds` is how long the broker is away, `rate` in messages per second."""

    scenario: str
    seconds: float
    rate: float
    seed: int
    ack_timeout_s: float
    requests: int
    """Of the fuzzer."""
    folder: Path


class NotPermitted(Exception):
    """This machine does not let the harness do what the scenario needs."""


async def run(order: Order, say: Say) -> Outcome:
    """Do one run and judge it.

    Raises:
        BrokerDown: Kafka could not be started.
        NotPermitted: the scenario needs root.
    """
    scenario = SCENARIOS[order.scenario]
    async with AsyncExitStack() as stack:
        spool = order.folder / "spool"
        if scenario.small_disk and not await stack.enter_async_context(small_disk(spool, size_mb=SMALL_DISK_MB)):
            raise NotPermitted("a small file system cannot be mounted")
        cluster = await stack.enter_async_context(running_cluster(order.folder, size=1))
        await ensure_topics(cluster.direct, [WEBHOOKS])
        ingest = await stack.enter_async_context(_ingest(order, scenario, cluster, spool))
        load = Load(
            client=Client(port=ingest.port),
            paths={account: path_of(account) for account in ACCOUNTS},
            rate=min(order.rate, scenario.most_per_s),
            seed=order.seed,
        )
        stage = Stage(
            cluster=cluster,
            ingest=ingest,
            load=load,
            rng=Random(f"{order.seed}/{order.scenario}"),
            seconds=order.seconds,
            requests=order.requests,
            say=say,
        )
        await _disturb(scenario, stage)
        await stage.settle()
        await stage.ingest.read_metrics()
        if parked := ingest.gauges.get("tradewind_spool_parked"):
            stage.problems.append(f"{parked:g} webhooks are parked, though Kafka takes them all")
        code = await ingest.retire()
        log = await read_raw_log(cluster.direct)
    return await asyncio.to_thread(_judge, order, stage, code, log)


@asynccontextmanager
async def _ingest(order: Order, scenario: Scenario, cluster: Cluster, spool: Path) -> AsyncIterator[Ingest]:
    setup = Setup(
        kafka=cluster.proxied if scenario.proxied else cluster.direct,
        accounts=ACCOUNTS,
        spool=spool,
        ack_timeout_s=order.ack_timeout_s,
        max_bytes=scenario.max_bytes,
    )
    async with Ingest(folder=order.folder, setup=setup) as ingest:
        yield ingest


async def _disturb(scenario: Scenario, stage: Stage) -> None:
    """Run the load and the scenario beside each other."""
    took = await stage.ingest.until_ready(READY_DEADLINE_S)
    if took is None:
        stage.problems.append("ingest was never ready")
        return
    stage.say(f"ingest ready after {took:.1f} s")
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(stage.load.run())
        watching = group.create_task(stage.watch())
        await scenario.act(stage)
        stage.load.stop()
        await loading
        watching.cancel()
    await stage.load.client.close()
    stage.say(f"load ended after {len(stage.load.sent)} messages; spool: {stage.spool()}")


async def read_raw_log(kafka: KafkaSettings) -> dict[int, Sequence[LogRecord]]:
    """Everything in servicetrade.webhooks, by partition, in offset order."""
    found: dict[int, Sequence[LogRecord]] = {}
    async with LogReader.open(kafka, client_id="ingest-chaos-reader") as reader:
        for partition in await reader.partitions(kafka.topic_prefix + WEBHOOKS.name):
            start, stop = await reader.beginning(partition), await reader.end(partition)
            batches = [batch async for batch in reader.read(partition, start, stop)]
            found[partition.number] = [record for batch in batches for record in batch]
    return found


def _judge(order: Order, stage: Stage, code: int | None, log: dict[int, Sequence[LogRecord]]) -> Outcome:
    ingest, load = stage.ingest, stage.load
    sent = sorted(load.sent, key=lambda message: message.began)
    received = ("stored", "spooled", "unavailable", "too_large")
    if wrong := {seen: times for seen, times in stage.readiness.items() if seen[:2] == (503, True)}:
        stage.problems.append(f"/readyz answered 503 though it accepts: {wrong}")
    figures = [
        "/metrics: "
        + ", ".join(f"{outcome} {ingest.count(f'received/{outcome}')}" for outcome in received)
        + f", drained {ingest.count('tradewind_spool_drained_total')}",
        f"/readyz (status, accepting, broker): {dict(stage.readiness)}",
        f"ingest ended {ingest.ends} times; {_times(sent)}; crowd held back {load.held_back} times",
    ]
    return Outcome(
        scenario=order.scenario,
        verdict=judge(sent, log, passed_over=FUZZED),
        changes=judge_changes(sent, log, passed_over=FUZZED),
        spooled=ingest.count("received/spooled"),
        spool_needed=SCENARIOS[order.scenario].outages,
        crashes=ingest.crashes,
        exit_code=code,
        noted=stage.problems,
        told=read_log(ingest.log, SECRETS.values()),
        figures=figures,
    )


def _times(sent: Sequence[Sent]) -> str:
    attempts = [attempt for message in sent for attempt in message.attempts]
    answered = sorted(attempt.ended - attempt.began for attempt in attempts if attempt.status is not None)
    if not answered:
        return "no answers"
    late = [f"{attempt.began - attempts[0].began:.1f}" for attempt in attempts if attempt.timed_out]
    unreached = sum(not attempt.reached for attempt in attempts)
    cut = sum(attempt.reached and attempt.status is None and not attempt.timed_out for attempt in attempts)
    median, slow = answered[len(answered) // 2], answered[len(answered) * 99 // 100]
    times = f"answers: median {median:.3f} s, 99 % within {slow:.3f} s, longest {answered[-1]:.3f} s"
    if late:
        times += f"; none within 5 s: begun {', '.join(late[:LATE_SHOWN])} s after the first"
    return f"{len(attempts)} requests, {unreached} without a connection, {cut} cut off; {times}"
