"""Hostile input against a worker as deployed: is memory bounded, does the ceiling hold, is everything counted."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bench.live import Tally, load, one_account_per_partition, restored, sent_by
from bench.stage import Child, Stage, ends, fill, make_topics, open_stage, read_all, usage, worker
from bench.workload import Posted, account_name, webhook
from runtime.kafka import Producer
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import BODY_LIMIT_BYTES, CHANGES, DEADLETTERS, WEBHOOKS
from tests.oracle import expect

CEILING_MS = 30_000
"""The built-in one."""
UPDATES = 100_000
ELEMENTS = 10_000
WIDE_MESSAGES = 12
HUGE_MESSAGES = 200
"""Of the largest size that ingest takes, of blanks: compressed, all of them fit into one fetch."""
ENTITIES = 1_000_000
ENTITIES_SPAN_S = 300.0
STEPS_TIMES = PipelineTimes(horizon_s=20, memory_s=60, max_ceiling_s=30)
"""Small ones: the oracle looks for cuts millisecond by millisecond."""
STRETCH_S = 20.0
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
STEPS = (0, -5_000, -10 * MINUTE_MS, HOUR_MS, HOUR_MS, 0)
"""How far the clock steps before each stretch of 20 s: ignored, too far back (twice, the last at the end: the log ends
in the future, and the first tick is back in the present), and an hour ahead."""
STEPS_AGO_MS = 90 * MINUTE_MS


def measure(report: Callable[[str], None]) -> dict[str, Any]:
    """Peak memory and counts for each bad input."""
    with open_stage(report=report) as stage:
        figures: dict[str, Any] = {"idle_peak_mb": asyncio.run(_idle(stage))}
        for case in (_one_entity, _wide_messages, _huge_messages, _many_entities, _clock_steps):
            name = case.__name__.removeprefix("_")
            report(f"hostile: {name.replace('_', ' ')}")
            figures[name] = asyncio.run(case(stage))
    return figures


async def _idle(stage: Stage) -> float:
    """What a worker takes that has had nothing to do."""
    kafka = stage.kafka("idle.")
    await make_topics(kafka)
    with worker(stage, kafka, instance="idle-worker") as running:
        await restored(running)
    return running.used.peak_rss_mb


# -- 1. one entity that never rests ------------------------------------------------------------------------------------


async def _one_entity(stage: Stage) -> dict[str, Any]:
    kafka = stage.kafka("hot.")
    await make_topics(kafka)
    with worker(stage, kafka, instance="hot-worker") as running:
        await restored(running)
        with load(stage, kafka, "one_entity", rate=UPDATES / 60, seconds=60) as sender:
            sent = await sent_by(sender, deadline_s=180)
        tally = Tally(kafka)
        changes = await tally.until(sent["sent"], running, deadline_s=120)
        figures = _figures(tally, sent["sent"], running)
    figures |= {
        "sent_in_s": round((changes[-1][1].due_ms - sent["started_ms"]) / 1000, 1),
        "longest_window_ms": max(change.due_ms - change.opened_ms for _, change in changes),
        "latest_append_ms": max(appended_ms - change.due_ms for appended_ms, change in changes),
        "closed_by": dict(Counter(change.closed_by for _, change in changes)),
        "most_sources": max(len(change.sources) for _, change in changes),
    }
    return figures


# -- 2. messages of ten thousand elements ------------------------------------------------------------------------------


def _wide(dice: random.Random, number: int, at_s: int) -> bytes:
    """Half of the messages are about the same entities as their neighbour."""
    first = 2_100_000_000_000_000 + number // 2 * ELEMENTS
    element = {"action": "updated", "timestamp": at_s, "userId": 1234}
    entities = [{"type": "job", "id": first + index} for index in range(ELEMENTS)]
    data = [{**element, "entity": entity, "changeset": None} for entity in entities]
    return encode({"messageId": f"wide-{dice.getrandbits(64):x}", "timestamp": str(at_s), "data": data})


async def _wide_messages(stage: Stage) -> dict[str, Any]:
    kafka = stage.kafka("wide.")
    await make_topics(kafka)
    dice, accounts = random.Random(5), one_account_per_partition()
    with worker(stage, kafka, instance="wide-worker") as running:
        await restored(running)
        async with Producer.open(kafka, client_id="wide") as producer:
            for number in range(WIDE_MESSAGES):
                body = _wide(dice, number, round(time.time()))
                account = accounts[number // 4]  # four messages, of 20,000 entities, to an account
                await (await producer.send(full_name(kafka, WEBHOOKS), key=account.encode(), value=body))
        tally = Tally(kafka)
        await tally.until(WIDE_MESSAGES * ELEMENTS, running, deadline_s=180)
        figures = _figures(tally, WIDE_MESSAGES * ELEMENTS, running)
    return {**figures, "messages": WIDE_MESSAGES, "body_bytes": len(body)}


# -- 3. messages that are large, but not in the log --------------------------------------------------------------------


async def _huge_messages(stage: Stage) -> dict[str, Any]:
    kafka = stage.kafka("huge.")
    await make_topics(kafka)
    dice = random.Random(8)
    async with Producer.open(kafka, client_id="huge") as producer:
        for number in range(HUGE_MESSAGES):
            body = webhook(dice, round(time.time() * 1000), "job", number).ljust(BODY_LIMIT_BYTES)
            await (await producer.send(full_name(kafka, WEBHOOKS), key=account_name(0).encode(), value=body))
    tally = Tally(kafka)
    with worker(stage, kafka, instance="huge-worker") as running:
        await tally.until(HUGE_MESSAGES, running, deadline_s=180)
        figures = _figures(tally, HUGE_MESSAGES, running)
    skip = running.log.stat().st_size
    with worker(stage, kafka, instance="huge-worker") as again:
        await restored(again, skip=skip)
        figures["peak_mb_of_restore"] = round(usage(again.pid).peak_rss_mb, 1)
    return {**figures, "body_bytes": len(body)}


# -- 4. a million entities ---------------------------------------------------------------------------------------------


def _different(start_ms: int) -> Iterator[Posted]:
    dice = random.Random(6)
    for number in range(ENTITIES):
        at_ms = start_ms + int(number * ENTITIES_SPAN_S * 1000 / ENTITIES)
        yield Posted(at_ms, account_name(number % 50), webhook(dice, at_ms, "job", 2_100_000_000_000_000 + number))


async def _many_entities(stage: Stage) -> dict[str, Any]:
    kafka = stage.kafka("many.")
    await make_topics(kafka)
    filled = await fill(kafka, _different(round(time.time() * 1000 - ENTITIES_SPAN_S * 1000 - MINUTE_MS)))
    began = time.monotonic()
    with worker(stage, kafka, instance="many-worker") as running:
        await _appended(kafka, filled, running)
        seconds = time.monotonic() - began
        tally = Tally(kafka)
        async for _ in tally.read():  # each is counted, none is kept
            pass
        figures = _figures(tally, filled, running)
    return {**figures, "log_span_s": ENTITIES_SPAN_S, "seconds": round(seconds, 1)}


async def _appended(kafka: KafkaSettings, changes: int, running: Child) -> None:
    """Wait until the topic of changes has that many records, without reading them."""
    async with asyncio.timeout(600):
        while sum((await ends(kafka, full_name(kafka, CHANGES))).values()) < changes:
            if not running.running:
                raise RuntimeError(f"the worker ended: {running.log.read_text()[-3000:]}")
            await asyncio.sleep(0.5)


# -- 5. clocks that step -----------------------------------------------------------------------------------------------


def _stepping(now_ms: int) -> Iterator[Posted]:
    """Bursts of two about 20 entities of each partition, in stretches between which the clock steps."""
    dice, at_ms = random.Random(7), now_ms - STEPS_AGO_MS
    for step in STEPS:
        at_ms += step
        for tenth in range(round(STRETCH_S * 10)):
            for account in one_account_per_partition():
                if tenth % 7 in (0, 3):
                    yield Posted(at_ms, account, webhook(dice, at_ms, "job", dice.randrange(20)))
            at_ms += 100


async def _clock_steps(stage: Stage) -> dict[str, Any]:
    kafka = stage.kafka("steps.")
    await make_topics(kafka)
    filled = await fill(kafka, _stepping(round(time.time() * 1000)))
    tally = Tally(kafka)
    with worker(stage, kafka, instance="steps-worker", times=STEPS_TIMES) as running:
        changes = await tally.until(filled, running, deadline_s=120)
        figures = _figures(tally, filled, running)
    log = await read_all(kafka, full_name(kafka, WEBHOOKS))
    wanted, dead = _expected(log, kafka)
    found = Counter(record.value or b"" for record in await read_all(kafka, full_name(kafka, CHANGES)))
    letters = await read_all(kafka, full_name(kafka, DEADLETTERS))
    return {
        **figures,
        "expected_changes": sum(wanted.values()),
        "missing": (wanted - found).total(),
        "others": (found - wanted).total(),
        "dead_letters": len(letters) - dead,
        "closed_by": dict(Counter(change.closed_by for _, change in changes)),
    }


def _expected(log: Iterable[LogRecord], kafka: KafkaSettings) -> tuple[Counter[bytes], int]:
    """What the oracle makes of the log: the changes' bytes, and how many dead letters."""
    by_partition: dict[int, list[LogRecord]] = {}
    for record in log:
        by_partition.setdefault(record.partition, []).append(record)
    wanted: Counter[bytes] = Counter()
    dead = 0
    for partition, records in by_partition.items():
        told = expect(
            records,
            topic=full_name(kafka, WEBHOOKS),
            partition=partition,
            epoch=kafka.log_epoch,
            times=STEPS_TIMES,
        )
        wanted.update(encode(change) for change in told.changes)
        dead += len(told.dead)
    return wanted, dead


# -- figures -----------------------------------------------------------------------------------------------------------


def _figures(tally: Tally, sent: int, running: Child) -> dict[str, Any]:
    return {
        "notifications": sent,
        "in_changes": tally.notifications,
        "changes": tally.changes,
        "repeated_changes": tally.repeats,
        "peak_mb": round(usage(running.pid).peak_rss_mb, 1),
    }


def rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured) of each input."""
    hot, wide = figures["one_entity"], figures["wide_messages"]
    huge = figures["huge_messages"]
    many, steps = figures["many_entities"], figures["clock_steps"]
    kept = f"windows <= {CEILING_MS / 1000:.0f} s, all counted"
    longest = f"longest window {hot['longest_window_ms'] / 1000:.1f} s"
    clean = f"{steps['missing']} missing, {steps['others']} others"
    return [
        ("hostile: an idle worker, for comparison", "-", f"peak {figures['idle_peak_mb']:.0f} MiB"),
        (f"hostile: one entity, {UPDATES:,} updates in a minute", kept, f"{longest}; {_counted(hot)}"),
        (f"hostile: {wide['messages']} messages of {ELEMENTS:,} elements", "all counted", _counted(wide)),
        (
            f"hostile: {HUGE_MESSAGES} messages of {BODY_LIMIT_BYTES // 2**20} MiB of blanks",
            "all counted",
            f"{_counted(huge)}; restored again: peak {huge['peak_mb_of_restore']:.0f} MiB",
        ),
        (f"hostile: {ENTITIES:,} entities", "all counted", _counted(many)),
        ("hostile: clock steps back and an hour ahead", "as the oracle", f"{clean}; {_counted(steps)}"),
    ]


def _counted(one: dict[str, Any]) -> str:
    counts = f"{one['in_changes']:,} of {one['notifications']:,} in {one['changes']:,} changes"
    return f"{counts}, peak {one['peak_mb']:.0f} MiB"


if __name__ == "__main__":
    told = measure(print)
    print(told)
    for row in rows(told):
        print(" | ".join(row))
