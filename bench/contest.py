"""Runs contenders one at a time over the same filled topic, and times each from its first record to its last output."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError

from bench.check import Verdict, judge
from bench.contenders import Contender, Run, Workload
from bench.environment import Peers
from bench.oracle import expected
from bench.stage import Child, Stage, Usage, ends, fill, make_output_topic, make_topics, read_all, usage
from bench.workload import CLOSING_TYPE, closing, generate
from runtime.kafka import LogReader
from runtime.kafka.topics import full_name, open_admin
from runtime.settings import KafkaSettings
from schemas.topics import WEBHOOKS

Report = Callable[[str], None]

POLL_S = 0.5
SETTLED_S = 4.0
"""An output that has all its windows and does not grow for so long is complete."""
GIVEN_UP_S = 20.0
"""An output that lacks windows and does not grow for so long is taken as it is."""
DEADLINE_S = 600.0
SPAN_MS_EACH = 6
"""Event time that passes per notification: 300,000 in 30 minutes."""
MARGIN_MS = 120_000
RUNS_SPACE = "bench-"
"""What the topics of runs begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of one contender."""

    seconds: float
    """From its first record to its last output in the topic."""
    rate: float
    """Notifications per second."""
    cpu_s: float
    """In that time, of the contender's process."""
    peak_rss_mb: float
    load: float
    """The machine's load average when it ended; far above the number of CPUs, others were at work."""
    verdict: Verdict


async def filled(stage: Stage, notifications: int, *, seed: int = 1, report: Report) -> Workload:
    """Make the topics and fill the raw log.

    The stretch lies so far back that the records which move event time on, behind it by more than the grace, are not
    in the future.
    """
    kafka = stage.kafka(f"w{notifications}.")
    span_ms = notifications * SPAN_MS_EACH
    grace_ms = span_ms + MARGIN_MS
    closing_ms = round(time.time() * 1000) - MARGIN_MS
    start_ms = closing_ms - grace_ms - span_ms - 2 * MARGIN_MS
    report(f"making {notifications:,} webhooks")
    await make_topics(kafka)
    posted = list(generate(notifications, seed=seed, start_ms=start_ms, span_s=span_ms / 1000))
    windows = frozenset(expected(posted))
    report(f"filling {full_name(kafka, WEBHOOKS)}")
    await fill(kafka, chain(posted, closing(at_ms=closing_ms)))
    return Workload(kafka=kafka, notifications=notifications, windows=windows, grace_ms=grace_ms, closing_ms=closing_ms)


async def one_run(
    stage: Stage, workload: Workload, peers: Peers, contender: Contender, label: str, *, passes: int = 1
) -> Result:
    """Start the contender, wait until its output is complete, kill it, and check the output.

    Raises:
        RuntimeError: it ended before it had put out anything, or took too long.
    """
    run = Run(stage=stage, workload=workload, peers=peers, label=RUNS_SPACE + label, passes=passes)
    topic = contender.output(run)
    plain = replace(workload.kafka, topic_prefix="")
    for number in range(1, passes + 1):
        earlier = contender.output(replace(run, passes=number))
        if earlier.startswith(RUNS_SPACE):
            await make_output_topic(plain, earlier)
    before = await _ends_when_there(plain, topic)
    with contender.start(run) as process:
        samples = await _until_complete(plain, topic, sum(before.values()), len(workload.windows), process)
        begun_ms = contender.begun_ms(run)
    load = os.getloadavg()[0]
    records = await read_all(plain, topic, before)
    await _remove_leftovers(plain)
    wanted = [record for record in records if f"/{CLOSING_TYPE}/".encode() not in (record.key or b"")]
    if begun_ms is None or not wanted:
        raise RuntimeError(f"{contender.name} put out nothing; the end of its log:\n{run.log.read_text()[-2000:]}")
    ended_ms = max(record.timestamp for record in wanted)
    seconds = (ended_ms - begun_ms) / 1000
    return Result(
        seconds=seconds,
        rate=workload.notifications / seconds,
        cpu_s=_cpu_between(samples, begun_ms, ended_ms),
        peak_rss_mb=max(used.peak_rss_mb for _, used in samples),
        load=load,
        verdict=judge(workload.windows, map(contender.piece, wanted)),
    )


async def _ends_when_there(kafka: KafkaSettings, topic: str) -> dict[int, int]:
    """The ends of a topic that was made a moment ago: the broker takes its time to know of it."""
    for _ in range(100):
        try:
            return await ends(kafka, topic)
        except UnknownTopicOrPartitionError:
            await asyncio.sleep(0.1)
    return await ends(kafka, topic)


async def _until_complete(
    kafka: KafkaSettings, topic: str, before: int, enough: int, process: Child
) -> list[tuple[float, Usage]]:
    """What the process had used at which time (Unix milliseconds), until its output is complete."""
    samples: list[tuple[float, Usage]] = []
    deadline = time.monotonic() + DEADLINE_S
    found, grown_at = 0, time.monotonic()
    async with LogReader.open(kafka, client_id="bench-watch") as reader:
        partitions = await reader.partitions(topic)
        while time.monotonic() < deadline:
            if not process.running:
                return samples
            samples.append((time.time() * 1000, usage(process.pid)))
            await asyncio.sleep(POLL_S)
            now_found = sum([await reader.end(partition) for partition in partitions]) - before
            if now_found > found:
                found, grown_at = now_found, time.monotonic()
            silent_s = time.monotonic() - grown_at
            if found and silent_s > (SETTLED_S if found >= enough else GIVEN_UP_S):
                return samples
    raise RuntimeError(f"not done after {DEADLINE_S:.0f} s: {found:,} of {enough:,} windows")


def _cpu_between(samples: Sequence[tuple[float, Usage]], begun_ms: float, ended_ms: float) -> float:
    before = max((used.cpu_s for at, used in samples if at <= begun_ms), default=0.0)
    after = min((used.cpu_s for at, used in samples if at >= ended_ms), default=samples[-1][1].cpu_s)
    return after - before


async def _remove_leftovers(kafka: KafkaSettings) -> None:
    """Delete the topics that the run made, so that every run finds the same broker."""
    async with open_admin(kafka) as admin:
        if names := [name for name in await admin.list_topics() if RUNS_SPACE in name]:
            await admin.delete_topics(names)


def figures(result: Result) -> dict[str, Any]:
    """The run, for JSON."""
    rounded = {name: round(value, 2) for name, value in asdict(result).items() if isinstance(value, float)}
    return {**rounded, "verdict": asdict(result.verdict)}
