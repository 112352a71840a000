"""Restore: how long a worker that replaces one killed with SIGKILL takes to its first new change."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from bench.live import Restore, Tally, assigned_ms, load, restored, sent_by
from bench.stage import Child, Stage, ends, fill, make_topics, open_stage, usage, worker
from bench.workload import generate
from runtime.kafka.topics import committed_offsets, full_name
from runtime.settings import KafkaSettings
from schemas.pipeline import PipelineTimes
from schemas.topics import WEBHOOKS

NOTIFICATIONS = 300_000
TARGET_S = 10
SPAN_S = 1_200.0
AGO_S = 1_260.0
"""The workload begins so long ago: with all that happens after it, it lies within what has to be read again."""
LIVE_PER_S = 24
LIVE_S = 60.0
LEAD_S = 5.0
"""Seconds of live load before the worker is killed."""
GROUP = "bench"
INSTANCE = "restored"


def measure(report: Callable[[str], None]) -> dict[str, Any]:
    """Seconds from the new worker's assignment to the first new change, and what was read again."""
    with open_stage(report=report) as stage:
        return asyncio.run(_measure(stage, report))


async def _measure(stage: Stage, report: Callable[[str], None]) -> dict[str, Any]:
    kafka = stage.kafka("restore.")
    await make_topics(kafka)
    filled_ms = time.time() * 1000
    report(f"restore: filling the log with {NOTIFICATIONS:,} notifications")
    filled = await fill(kafka, generate(NOTIFICATIONS, start_ms=round(filled_ms - AGO_S * 1000), span_s=SPAN_S))
    tally = Tally(kafka)
    with worker(stage, kafka, instance=INSTANCE, group=GROUP) as first:
        report("restore: a worker consumes it")
        await tally.until(filled, first, deadline_s=300)
        await _committed(kafka, first)
        with load(stage, kafka, "scattered", rate=LIVE_PER_S, seconds=LIVE_S) as sender:
            await asyncio.sleep(LEAD_S)
            report("restore: kill -9, and another worker at once")
            first.kill()
            killed_ms = time.time() * 1000
            skip = first.log.stat().st_size
            with worker(stage, kafka, instance=INSTANCE, group=GROUP) as second:
                restores = await restored(second, skip=skip)
                began_ms = assigned_ms(second, skip=skip)
                cpu_s = usage(second.pid).cpu_s
                sent = await sent_by(sender, deadline_s=LIVE_S + 60)
                changes = await tally.until(filled + sent["sent"], second, deadline_s=60)
    # What the killed worker had on its way can be appended a moment after its end, but not after a restore.
    earliest_ms = min(one.ended_ms for one in restores)
    first_ms = next(appended_ms for appended_ms, _ in changes if appended_ms >= earliest_ms)
    return {
        **_times(restores, began_ms=began_ms, killed_ms=killed_ms, first_ms=first_ms),
        "cpu_s_until_restored": cpu_s,
        "load_average": os.getloadavg()[0],
        "restore_stretch_s": PipelineTimes().restore_ms / 1000,
        "log_age_at_kill_s": round((killed_ms - filled_ms) / 1000 + AGO_S, 1),
        "notifications": filled + sent["sent"],
        "in_changes": tally.notifications,
        "repeated_changes": tally.repeats,
        "peak_mb_before": first.used.peak_rss_mb,
        "peak_mb_after": second.used.peak_rss_mb,
    }


async def _committed(kafka: KafkaSettings, running: Child) -> None:
    """Wait until the group's offsets are the ends of the log."""
    name = full_name(kafka, WEBHOOKS)
    async with asyncio.timeout(60):
        while True:
            committed = await committed_offsets(kafka, GROUP)
            if {one.number: at for one, at in committed.items()} == await ends(kafka, name):
                return
            if not running.running:
                raise RuntimeError(f"the worker ended: {running.log.read_text()[-3000:]}")
            await asyncio.sleep(0.2)


def _times(restores: list[Restore], *, began_ms: float, killed_ms: float, first_ms: float) -> dict[str, Any]:
    seconds = [one.seconds for one in restores]
    return {
        "records": sum(one.records for one in restores),
        "from_assignment_s": round((first_ms - began_ms) / 1000, 3),
        "from_kill_s": round((first_ms - killed_ms) / 1000, 2),
        "kill_to_assignment_s": round((began_ms - killed_ms) / 1000, 2),
        "restore_s": round((max(one.ended_ms for one in restores) - began_ms) / 1000, 3),
        "partition_s": {"min": min(seconds), "mean": round(sum(seconds) / len(seconds), 3), "max": max(seconds)},
    }


def rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured)."""
    each = figures["partition_s"]
    first = f"{figures['from_assignment_s']} s ({figures['records']:,} records)"
    return [
        (
            "kill -9: assignment to first new change",
            f"<= {TARGET_S} s",
            first,
        ),
        ("kill -9: kill to first new change", "-", f"{figures['from_kill_s']} s"),
        (
            "restore of 12 partitions",
            "-",
            f"{figures['restore_s']} s; {each['min']} to {each['max']} s a partition, mean {each['mean']} s",
        ),
        (
            "kill -9: notifications in changes",
            "all",
            f"{figures['in_changes']:,} of {figures['notifications']:,}, {figures['repeated_changes']} changes twice",
        ),
    ]


if __name__ == "__main__":
    told = measure(print)
    print(told)
    for row in rows(told):
        print(" | ".join(row))
