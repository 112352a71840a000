"""The sections about throughput: all contenders in turn over one topic, and a longer run of two of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from bench.contenders import OURS, STREAMS, Contender, chosen
from bench.contest import Report, Result, figures, filled, one_run
from bench.environment import prepare_peers
from bench.stage import Stage, open_stage

HEADS = (
    "contender",
    "notifications/s",
    "min to max",
    "ours : it",
    "CPU s",
    "peak MiB",
    "windows right / expected",
    "lost",
)
NOT_AT_HAND, FAILED = "not at hand", "failed"
MILLION = 1_000_000
MILLION_PASSES = 2
SLOW_S = 200.0
"""A contender that takes longer runs once: its place is beyond doubt, and the whole has to come to an end."""


def measure(report: Report, *, notifications: int = 300_000, runs: int = 3, only: Iterable[str] = ()) -> dict[str, Any]:
    """Let every contender run `runs` times, A B C A B C, and say what each of the runs gave; slow ones run once.

    Raises:
        ValueError: `only` names somebody unknown.
    """
    contenders = chosen(only)
    peers = prepare_peers(report)
    found: defaultdict[str, list[Result]] = defaultdict(list)
    failed: set[str] = set()

    async def contest(stage: Stage) -> None:
        workload = await filled(stage, notifications, report=report)
        for number in range(1, runs + 1):
            for contender in contenders:
                is_out = contender.name in failed or not contender.is_there(peers)
                if is_out or any(one.seconds > SLOW_S for one in found[contender.name]):
                    continue
                report(f"run {number} of {runs}: {contender.name}")
                try:
                    result = await one_run(stage, workload, peers, contender, f"{contender.name}-{number}")
                except RuntimeError as error:  # the others' results are worth keeping
                    report(f"{contender.name} failed: {error}")
                    failed.add(contender.name)
                    continue
                found[contender.name].append(result)
                report(_line(f"run {number} of {runs}: {contender.name}", result))

    with open_stage(report=report) as stage:
        asyncio.run(contest(stage))
    return {
        "notifications": notifications,
        "runs": runs,
        "versions": peers.versions,
        "failed": sorted(failed),
        "contenders": [_summary(contender, found[contender.name]) for contender in contenders],
    }


def measure_million(report: Report, *, notifications: int = MILLION) -> dict[str, Any]:
    """One long run of ours, and one of Kafka Streams that is its JVM's second pass over the same topic.

    Raises:
        RuntimeError: as `measure`.
    """
    peers = prepare_peers(report)
    found: list[tuple[Contender, list[Result]]] = []

    async def contest(stage: Stage) -> None:
        workload = await filled(stage, notifications, report=report)
        for contender in (OURS, STREAMS):
            if not contender.is_there(peers):
                continue
            report(f"{notifications:,}: {contender.name}")
            passes = MILLION_PASSES if contender is STREAMS else 1
            result = await one_run(stage, workload, peers, contender, f"{contender.name}-long", passes=passes)
            found.append((contender, [result]))
            report(_line(f"{notifications:,}: {contender.name}", result))

    with open_stage(report=report) as stage:
        asyncio.run(contest(stage))
    return {
        "notifications": notifications,
        "runs": 1,
        "versions": peers.versions,
        "contenders": [_summary(contender, results) for contender, results in found],
    }


def _line(what: str, result: Result) -> str:
    verdict = result.verdict
    told = f"{result.rate:,.0f}/s in {result.seconds:.1f} s, {verdict.right:,} of {verdict.expected:,} windows right"
    return f"{what}: {told}, {verdict.lost:,} notifications lost"


def _summary(contender: Contender, results: list[Result]) -> dict[str, Any]:
    if not results:
        return {"name": contender.name, "title": contender.title}
    rates = [result.rate for result in results]
    return {
        "name": contender.name,
        "title": contender.title,
        "rate": {"min": round(min(rates)), "median": round(median(rates)), "max": round(max(rates))},
        "cpu_s": round(median(result.cpu_s for result in results), 1),
        "peak_rss_mb": round(max(result.peak_rss_mb for result in results)),
        "expected": results[0].verdict.expected,
        "right": min(result.verdict.right for result in results),
        "split": max(result.verdict.split for result in results),
        "lost": max((result.verdict.lost for result in results), key=abs),
        "runs": [figures(result) for result in results],
    }


def rows(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of HEADS, the contenders in the order in which they ran; CPU seconds are those of the median run."""
    rates = {one["name"]: one["rate"]["median"] for one in measured["contenders"] if "rate" in one}
    ours = rates.get(OURS.name)
    table = []
    for one in measured["contenders"]:
        if "rate" not in one:
            why = FAILED if one["name"] in measured.get("failed", ()) else NOT_AT_HAND
            table.append((one["title"], why, *[""] * (len(HEADS) - 2)))
            continue
        rate = one["rate"]
        split = f" ({one['split']:,} split)" if one["split"] else ""
        table.append(
            (
                one["title"],
                f"{rate['median']:,}",
                f"{rate['min']:,} to {rate['max']:,}" if len(one["runs"]) > 1 else "one run",
                f"{ours / rate['median']:.2f}" if ours else "",
                f"{one['cpu_s']:,.1f}",
                f"{one['peak_rss_mb']:,}",
                f"{one['right']:,} / {one['expected']:,}{split}",
                f"{one['lost']:,}",
            )
        )
    return table
