"""From a webhook to the row: ingest, processors and the mirror as processes, webhooks at fixed times."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.environment import ROOT
from bench.live import Tally, sent_by
from bench.sinks_load import Post, planned, write_posts
from bench.sinks_office import TYPE
from bench.sinks_site import HOOK_SECRET, Run, Site, make_topics, tail
from bench.stage import Child, child, ends, read_all
from bench.workload import QUIET_MS, webhook
from runtime.broker_config import HOST
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings
from schemas.change import EntityChange
from schemas.encoding import decode
from schemas.topics import DELIVERIES, PARTITIONS

RATE = 200.0
EXCLUDED_S = 5.0
"""Windows that end in the first seconds are left out: nobody has logged in yet, and all paths are cold."""
LEAD_S = 2.0
"""What the process of the load has to start in."""
SETTLE_S = 60.0
_POLL_S = 0.2

Dues = Mapping[str, Sequence[float]]
"""When the webhooks of each entity were due, Unix milliseconds, by record key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One window's way, in milliseconds from when its last webhook was due; the quiet period is in none of them."""

    append: float
    """To its append to the raw log."""
    firing: float
    """From when the window was due to the append of its change."""
    row: float
    """From there to the record that the row is written."""

    @property
    def whole(self) -> float:
        """All of it."""
        return self.append + self.firing + self.row


def parts_of(
    dues: Dues,
    changes: Iterable[tuple[float, EntityChange]],
    delivered: Mapping[str, float],
    *,
    from_ms: float,
) -> list[Parts]:
    """The ways of the windows that were closed by silence.

    Args:
        dues: of every webhook.
        changes: with their append times, in order of append.
        delivered: when it was recorded that the row carries a change, by its id.
        from_ms: windows whose last webhook was due before are left out.
    """
    found, counted = list[Parts](), Counter[str]()
    for appended_ms, change in changes:
        counted[change.key] += change.notifications
        # The last of this window is the one so many notifications of the entity lead up to, however they were cut.
        last_ms = dues[change.key][min(counted[change.key], len(dues[change.key])) - 1]
        if change.closed_by != "quiet" or last_ms < from_ms:
            continue
        append, row = change.due_ms - QUIET_MS - last_ms, delivered[change.id] - appended_ms
        found.append(Parts(append=append, firing=appended_ms - change.due_ms, row=row))
    return found


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Median, 99th percentile and maximum."""
    ordered = sorted(values)
    middle, high = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return {"p50": round(middle, 1), "p99": round(high, 1), "max": round(ordered[-1], 1)}


def needed(accounts: int, *, seconds: float) -> int:
    """How many entities each account must have for a load of so many measured seconds."""
    return 1 + max(entity for _, entity in planned(accounts, rate=RATE, seconds=seconds + EXCLUDED_S))


def measure(site: Site, kafka: KafkaSettings, *, seconds: float, report: Callable[[str], None]) -> dict[str, Any]:
    """Percentiles, in milliseconds, over so many seconds of load.

    Raises:
        RuntimeError: a process ended, or the load failed.
        TimeoutError: not every webhook came out.
    """
    return asyncio.run(_measure(site, kafka, seconds=seconds, report=report))


async def _measure(
    site: Site, kafka: KafkaSettings, *, seconds: float, report: Callable[[str], None]
) -> dict[str, Any]:
    await make_topics(kafka)
    run = Run.new(site, "latency", kafka)
    async with AsyncExitStack() as stack:
        processes = {
            words[-1]: await stack.enter_async_context(run.process(*words))
            for words in (("ingest",), ("processors",), ("sink", "mirror"))
        }
        report(f"latency: {RATE:.0f} webhooks/s for {EXCLUDED_S + seconds:.0f} s")
        posts, dues = _posts(site, start_ms=(time.time() + LEAD_S) * 1000, seconds=seconds + EXCLUDED_S)
        file = site.stage.folder / "posts.tsv"
        write_posts(file, posts)
        command = [sys.executable, "-m", "bench.sinks_load", HOST, str(run.port), str(file)]
        log = site.stage.folder / "posts.log"
        sender = stack.enter_context(child(command, log, env={"PYTHONPATH": str(ROOT)}))
        sent = await sent_by(sender, deadline_s=LEAD_S + EXCLUDED_S + seconds + SETTLE_S)
        load = os.getloadavg()[0]
        tally = Tally(kafka)
        changes = await tally.until(len(posts), processes["processors"], deadline_s=SETTLE_S)
        outcomes = await _outcomes(kafka, len(changes), processes["mirror"])
        cpu_s = {name: process.kill().cpu_s for name, process in processes.items()}
    delivered = {id_: timestamp for id_, (timestamp, _) in outcomes.items()}
    parts = parts_of(dues, changes, delivered, from_ms=posts[0].due_ms + EXCLUDED_S * 1000)
    return {
        "rate": RATE,
        "seconds": seconds,
        "webhooks": len(posts),
        "in_changes": tally.notifications,
        "changes": len(changes),
        "judged": len(parts),
        "outcomes": dict(Counter(outcome for _, outcome in outcomes.values())),
        "sender": sent,
        "whole_ms": percentiles(one.whole for one in parts),
        "append_ms": percentiles(one.append for one in parts),
        "firing_ms": percentiles(one.firing for one in parts),
        "row_ms": percentiles(one.row for one in parts),
        "cpu_s": {name: round(seconds, 1) for name, seconds in cpu_s.items()},
        "load": round(load, 2),
    }


def _posts(site: Site, *, start_ms: float, seconds: float) -> tuple[list[Post], Dues]:
    names, chance = list(site.jobs)[:PARTITIONS], random.Random(1)
    posts, dues = list[Post](), defaultdict[str, list[float]](list)
    for tick, (account, entity) in enumerate(planned(len(names), rate=RATE, seconds=seconds)):
        due_ms, name = start_ms + tick * 1000 / RATE, names[account]
        id_ = site.jobs[name][entity]
        body = webhook(chance, round(due_ms), TYPE, id_).decode()
        posts.append(Post(due_ms=due_ms, path=f"/webhooks/{name}/{HOOK_SECRET}", body=body))
        dues[f"{name}/{TYPE}/{id_}"].append(due_ms)
    return posts, dues


async def _outcomes(kafka: KafkaSettings, enough: int, mirror: Child) -> dict[str, tuple[float, str]]:
    """When each change had its first outcome, and which, by the change's id."""
    topic, deadline = full_name(kafka, DELIVERIES), time.monotonic() + SETTLE_S
    while True:
        there = sum((await ends(kafka, topic)).values())
        if there >= enough:
            found: dict[str, tuple[float, str]] = {}
            for record in sorted(await read_all(kafka, topic), key=lambda record: record.timestamp):
                delivery = decode(record.value or b"")
                found.setdefault(delivery["change_id"], (record.timestamp, delivery["outcome"]))
            if len(found) >= enough:
                return found
        if not mirror.running or time.monotonic() > deadline:
            raise RuntimeError(f"{there:,} of {enough:,} changes have an outcome: {tail(mirror)}")
        await asyncio.sleep(_POLL_S)
