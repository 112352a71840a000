"""The ingest section: receivers in turn under the same load, the memory of ours, and ours without Kafka."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka.errors import KafkaError

from bench import ingest_memory, ingest_spool
from bench.contest import Report
from bench.environment import HOME, go_ingest, go_versions, peers_python, versions_in
from bench.ingest_contenders import CONTENDERS, EMPTY, FASTAPI, GO, OURS, Contender, Setting
from bench.ingest_load import find_wrk, write_requests
from bench.ingest_run import WARM_UP_S, Result, figures, one_run
from bench.stage import open_stage
from bench.throughput import FAILED, NOT_AT_HAND
from runtime.broker_install import KAFKA_VERSION

HEADS = (
    "contender",
    "webhooks/s",
    "min to max",
    "ours : it",
    "p50 ms",
    "p99 ms",
    "CPU s per 1,000",
    "peak MiB",
    "not 2xx",
    "stored",
)
TARGET_HEADS = ("figure", "target", "measured")
RATE_TARGETS = ((FASTAPI, 5.0), (EMPTY, 0.55), (GO, 0.8))
"""At least so many times the contender's rate."""
P99_TARGET = 2.0
"""At most so many times the p99 of the empty one."""


def measure(report: Report, *, runs: int = 3, seconds: int = 10, only: Sequence[str] = ()) -> dict[str, Any]:
    """Let every contender run `runs` times, A B C A B C, each for so many seconds; then the memory and spool of ours.

    Raises:
        NotAtHandError: wrk is not installed.
    """
    find_wrk()
    python, go = peers_python(report), go_ingest(report)
    contenders = [one for one in CONTENDERS if not only or one.name in only]
    with open_stage(report=report) as stage, TemporaryDirectory(prefix="spools-", dir=HOME) as spools:
        files = {"requests": stage.folder / "requests.txt", "spools": Path(spools)}
        setting = Setting(stage=stage, python=python, go=go, **files)
        write_requests(setting.requests)
        found = _contest(setting, contenders, report, runs=runs, seconds=seconds)
        more = _ours_alone(setting, report, seconds=seconds) if OURS in contenders else {}
    return {
        "runs": runs,
        "seconds": seconds,
        "versions": _versions(setting),
        "contenders": [_summary(one, setting, found[one.name]) for one in contenders],
        **more,
    }


def _contest(
    setting: Setting, contenders: Sequence[Contender], report: Report, *, runs: int, seconds: int
) -> defaultdict[str, list[Result]]:
    found: defaultdict[str, list[Result]] = defaultdict(list)
    failed: set[str] = set()
    # Round 0 is short and counts for nothing: a broker whose code is not compiled yet would hold the first ones back.
    for number in range(runs + 1):
        for one in contenders:
            if one.name in failed or not one.is_there(setting):
                continue
            what, length = f"run {number} of {runs}: {one.name}", seconds if number else WARM_UP_S
            try:
                result = one_run(setting, one, f"ingest-{one.name}-{number}", seconds=length)
            except (RuntimeError, KafkaError) as error:  # the others' results are worth keeping
                report(f"{what} failed: {error}")
                failed.add(one.name)
                found.pop(one.name, None)
                continue
            if number:
                found[one.name].append(result)
            answers, stored = result.answers, _stored([figures(result)])
            report(f"{what}: {answers.rate:,.0f}/s, p99 {answers.p99_ms:.1f} ms, stored: {stored}")
    return found


def _ours_alone(setting: Setting, report: Report, *, seconds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, part in (("memory", ingest_memory.measure), ("spool", ingest_spool.measure)):
        try:
            found[name] = part(setting, seconds=seconds, report=report)
        except (RuntimeError, KafkaError) as error:  # as above
            report(f"{name} failed: {error}")
    return found


def _versions(setting: Setting) -> dict[str, str]:
    ours = {name: version(name) for name in ("tradewind", "uvicorn", "httptools", "aiokafka")}
    peers = {f"{name} (fastapi)": number for name, number in versions_in(setting.python, ("uvicorn", "uvloop")).items()}
    return {
        "Python": platform.python_version(),
        "Apache Kafka": KAFKA_VERSION,
        **ours,
        **versions_in(setting.python, ("fastapi",)),
        **peers,
        **(go_versions(setting.go) if setting.go else {}),
    }


def _summary(contender: Contender, setting: Setting, results: Sequence[Result]) -> dict[str, Any]:
    told = {"name": contender.name, "title": contender.title}
    if not results:
        return {**told, "why": FAILED if contender.is_there(setting) else NOT_AT_HAND}
    return {**told, "runs": [figures(result) for result in results]}


# -- tables ------------------------------------------------------------------------------------------------------------


def _middle(one: Mapping[str, Any], name: str) -> float:
    return float(median(run[name] for run in one["runs"]))


def _ratio(ours: Mapping[str, Any] | None, other: Mapping[str, Any] | None, name: str) -> float | None:
    """The median over the rounds of ours divided by the other's; None without both."""
    if not (ours and other and "runs" in ours and "runs" in other):
        return None
    return float(median(one[name] / two[name] for one, two in zip(ours["runs"], other["runs"], strict=True)))


def _stored(runs: Sequence[Mapping[str, Any]]) -> str:
    counted = [run["stored"] for run in runs if run["stored"]]
    if lost := sum(stored["lost"] for stored in counted):
        return f"LOST {lost:,}"
    if more := sum(stored["more"] for stored in counted):
        return f"{more:,} too many"
    return f"all of {sum(stored['accepted'] for stored in counted):,}" if counted else "-"


def rows(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of HEADS, the contenders in the order in which they ran."""
    found = {one["name"]: one for one in measured["contenders"]}
    table: list[tuple[str, ...]] = []
    for one in found.values():
        if "runs" not in one:
            table.append((one["title"], one["why"], *[""] * (len(HEADS) - 2)))
            continue
        rates = [run["rate"] for run in one["runs"]]
        refused, broken = (sum(run[name] for run in one["runs"]) for name in ("refused", "socket_errors"))
        ratio = _ratio(found.get(OURS.name), one, "rate")
        table.append(
            (
                one["title"],
                f"{_middle(one, 'rate'):,.0f}",
                f"{min(rates):,} to {max(rates):,}" if len(rates) > 1 else "one run",
                "" if ratio is None else f"{ratio:.2f}",
                f"{_middle(one, 'p50_ms'):.1f}",
                f"{_middle(one, 'p99_ms'):.1f}",
                f"{_middle(one, 'cpu_s_per_1000'):.3f}",
                f"{max(run['peak_rss_mb'] for run in one['runs']):,.0f}",
                f"{refused:,}" + (f", {broken:,} broken" if broken else ""),
                _stored(one["runs"]),
            )
        )
    return table


def target_rows(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of TARGET_HEADS."""
    found = {one["name"]: one for one in measured["contenders"]}
    aims = [(f"webhooks/s, ours : {other.name}", f">= {aim:g}", "rate", other) for other, aim in RATE_TARGETS]
    aims.append(("p99, ours : empty", f"<= {P99_TARGET:g}", "p99_ms", EMPTY))
    table: list[tuple[str, ...]] = []
    for figure, aim, name, other in aims:
        ratio = _ratio(found.get(OURS.name), found.get(other.name), name)
        table.append((figure, aim, "-" if ratio is None else f"{ratio:.2f}"))
    for part_name, part in (("memory", ingest_memory.rows), ("spool", ingest_spool.rows)):
        if OURS.name in found:
            table += part(measured[part_name]) if part_name in measured else [(part_name, "-", FAILED)]
    return table
