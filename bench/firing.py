"""Firing error: from the moment a window is due to the append of its change, at two loads on a real broker."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.live import Tally, load, restored, sent_by
from bench.stage import Stage, make_topics, open_stage, worker
from schemas.topics import PARTITIONS

TARGET_P50_MS = 30
TARGET_P99_MS = 200
EXCLUDED_S = 5.0
"""Windows that opened in the first seconds of the load are left out: the worker's paths are cold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes in, and for how long."""

    title: str
    name: str
    prefix: str
    rate: float
    seconds: float


LOADS = (
    Load(title="500 notifications/s for 60 s, 50 accounts", name="bursts", prefix="steady.", rate=500, seconds=60),
    # No window shares its neighbour's record: each needs a tick.
    Load(title="1 per partition and 5 s for 90 s", name="scattered", prefix="sparse.", rate=PARTITIONS / 5, seconds=90),
)


def measure(report: Callable[[str], None]) -> dict[str, Any]:
    """Percentiles of the firing error in milliseconds, by load."""
    with open_stage(report=report) as stage:
        return {"loads": [asyncio.run(_under(stage, one, report)) for one in LOADS]}


async def _under(stage: Stage, one: Load, report: Callable[[str], None]) -> dict[str, Any]:
    kafka = stage.kafka(one.prefix)
    await make_topics(kafka)
    with worker(stage, kafka, instance=f"{one.prefix}worker") as running:
        # Joining the group and restoring are over before the first webhook comes.
        await restored(running)
        report(f"firing: {one.title}")
        with load(stage, kafka, one.name, rate=one.rate, seconds=one.seconds) as sender:
            sent = await sent_by(sender, deadline_s=one.seconds + 60)
        tally = Tally(kafka)
        changes = await tally.until(sent["sent"], running, deadline_s=60)
    from_ms = sent["started_ms"] + EXCLUDED_S * 1000
    judged = [item for item in changes if item[1].closed_by in ("quiet", "ceiling") and item[1].opened_ms >= from_ms]
    errors = sorted(appended_ms - change.due_ms for appended_ms, change in judged)
    return {
        "title": one.title,
        "notifications": sent["sent"],
        "in_changes": tally.notifications,
        "sender_latest_ms": sent["latest_ms"],
        "append_p50_ms": sent["append_p50_ms"],
        "append_p99_ms": sent["append_p99_ms"],
        "changes": len(changes),
        "judged": dict(Counter(change.closed_by for _, change in judged)),
        "p50_ms": errors[len(errors) // 2],
        "p99_ms": errors[len(errors) * 99 // 100],
        "max_ms": errors[-1],
        "load_average": os.getloadavg()[0],
        "worker_cpu_s": running.used.cpu_s,
        "worker_peak_mb": running.used.peak_rss_mb,
    }


def rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured) by load."""
    found: list[tuple[str, ...]] = []
    for one in figures["loads"]:
        judged = sum(one["judged"].values())
        measured = f"p50 {one['p50_ms']} ms, p99 {one['p99_ms']} ms, max {one['max_ms']} ms ({judged:,} windows)"
        target = f"p50 <= {TARGET_P50_MS} ms, p99 <= {TARGET_P99_MS} ms"
        measured += f"; a plain append meanwhile: p50 {one['append_p50_ms']} ms, p99 {one['append_p99_ms']} ms"
        found.append((f"firing error, {one['title']}", target, measured))
    return found


if __name__ == "__main__":
    told = measure(print)
    print(told)
    for row in rows(told):
        print(" | ".join(row))
