"""The sinks section: how fast changes that wait are mirrored, beside a plain loop, and how long a live one takes."""

from __future__ import annotations

import argparse
import asyncio
import platform
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from aiokafka.errors import KafkaError
from asyncpg import PostgresError

from bench import sinks_latency, sinks_tables
from bench.environment import HOME
from bench.sinks_mirror import Result, figures, ours, plain
from bench.sinks_office import accounts, open_office
from bench.sinks_postgres import Postgres, open_postgres
from bench.sinks_queue import Queue, filled
from bench.sinks_site import ACCOUNT_CONCURRENCY, CONCURRENCY, Site
from bench.stage import open_stage
from runtime.broker_install import KAFKA_VERSION
from schemas.encoding import encode
from schemas.errors import TradewindError
from schemas.topics import PARTITIONS

CHANGES = 10_000
SECONDS = 60
QUEUED, QUEUED_ENTITIES = 20_000, 4_000
"""Changes and entities of the queue that is coalesced."""
BUDGET_S = 580.0
"""All of the section; rounds that would not fit in are left out."""
REST_S = 125.0
"""Of it, what comes after the rounds."""
FAILURES = (RuntimeError, OSError, KafkaError, TradewindError, httpx.HTTPError, PostgresError)
"""Of one contender or part: the others' results are worth keeping."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    changes: int = CHANGES
    rounds: int = 3
    seconds: int = SECONDS
    queued: int = QUEUED
    queued_entities: int = QUEUED_ENTITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contender:
    name: str
    title: str
    run: Callable[[str], Result]


def measure(report: Report, size: Size) -> dict[str, Any]:
    """Let the mirror and the plain loop take the same queue in turn; then the coalesced queue, then the latency.

    Raises:
        RuntimeError: the simulator does not start.
    """
    began = time.monotonic()
    HOME.mkdir(exist_ok=True)
    with (
        open_stage(report=report) as stage,
        TemporaryDirectory(prefix="stores-", dir=HOME) as disk,
        open_office(stage.folder) as office,
        open_postgres(Path(disk) / "postgres") as postgres,
    ):
        counts = _counts(size)
        report(f"making {sum(counts.values()):,} entities")
        jobs = asyncio.run(office.furnish(counts))
        site = Site.new(stage, office, jobs, Path(disk))
        report(f"queueing {size.changes:,} changes")
        kafka = stage.kafka("queue.")
        queue = asyncio.run(filled(kafka, jobs, changes=size.changes, entities=size.changes))
        contenders = _contenders(site, queue, postgres)
        runs = _rounds(contenders, size.rounds, report, until=began + BUDGET_S - REST_S)
        return {
            "changes": size.changes,
            "entities": size.changes,
            "accounts": len(jobs),
            "concurrency": CONCURRENCY,
            "account_concurrency": ACCOUNT_CONCURRENCY,
            "entity_bytes": _entity_bytes(site),
            "cpu_unit": "s per 1,000 changes",
            "versions": _versions(postgres),
            "contenders": [
                {"name": one.name, "title": one.title, "runs": [figures(run) for run in runs[one.name]]}
                for one in contenders
            ],
            **_others(site, size, report),
            "took_s": round(time.monotonic() - began),
        }


def _counts(size: Size) -> dict[str, int]:
    """How many jobs each account has: enough for every part."""
    names = accounts()
    queued = -(-max(size.changes, size.queued_entities) // len(names))
    live = sinks_latency.needed(PARTITIONS, seconds=size.seconds)
    return {name: max(queued, live) if place < PARTITIONS else queued for place, name in enumerate(names)}


def _contenders(site: Site, queue: Queue, postgres: Postgres | None) -> list[_Contender]:
    found = [
        _Contender(name="sqlite", title="**tradewind, SQLite**", run=lambda label: ours(site, queue, label)),
        _Contender(name="plain", title=sinks_tables.PLAIN_TITLE, run=lambda label: plain(site, queue, label)),
    ]
    if postgres is not None:
        title = "**tradewind, PostgreSQL**"
        found.append(_Contender(name="postgres", title=title, run=lambda label: ours(site, queue, label, postgres)))
    return found


def _rounds(contenders: Sequence[_Contender], rounds: int, report: Report, *, until: float) -> dict[str, list[Result]]:
    """Every contender in turn, again and again; one that fails runs no more, and what it has found counts nothing."""
    found, failed, longest = defaultdict[str, list[Result]](list), set[str](), 0.0
    for number in range(1, rounds + 1):
        began = time.monotonic()
        if began + longest > until:
            report(f"no time for round {number} of {rounds}")
            break
        for one in contenders:
            what = f"round {number} of {rounds}: {one.name}"
            if one.name in failed:
                continue
            try:
                result = one.run(f"{one.name}-{number}")
            except FAILURES as error:
                report(f"{what} failed: {error}")
                failed.add(one.name)
                found.pop(one.name, None)
                continue
            found[one.name].append(result)
            rows = "" if result.rows_right is None else f", rows right: {result.rows_right:,} of {result.rows_wanted:,}"
            cpu = result.cpu_s_per_1000["contender"]
            report(f"{what}: {result.rate:,.0f}/s, {cpu:.2f} s of CPU per 1,000{rows}")
        longest = max(longest, time.monotonic() - began)
    return found


def _others(site: Site, size: Size, report: Report) -> dict[str, Any]:
    """The coalesced queue and the latency, those of them that did not fail."""

    def coalesced() -> dict[str, Any]:
        report(f"queueing {size.queued:,} changes of {size.queued_entities:,} entities")
        kafka = site.stage.kafka("coalesced.")
        queue = asyncio.run(filled(kafka, site.jobs, changes=size.queued, entities=size.queued_entities))
        result = ours(site, queue, "coalesced")
        report(f"coalesced: {result.seconds:.1f} s, {result.reads:,} GETs")
        return {"changes": size.queued, "entities": size.queued_entities, **figures(result)}

    def latency() -> dict[str, Any]:
        return sinks_latency.measure(site, site.stage.kafka("live."), seconds=size.seconds, report=report)

    found: dict[str, Any] = {}
    for name, part in (("coalesced", coalesced), ("latency", latency)):
        try:
            found[name] = part()
        except FAILURES as error:
            report(f"{name} failed: {error}")
    return found


def _entity_bytes(site: Site) -> int:
    account = next(iter(site.jobs))
    found = asyncio.run(site.office.jobs([account]))
    return len(encode(found[account, site.jobs[account][0]]))


def _versions(postgres: Postgres | None) -> dict[str, str]:
    ours_are = {name: version(name) for name in ("tradewind", "aiokafka", "httpx", "sqlalchemy", "asyncpg")}
    served = {} if postgres is None else {"PostgreSQL": asyncio.run(postgres.version())}
    python = {"Python": platform.python_version(), "Apache Kafka": KAFKA_VERSION}
    return {**python, **ours_are, "SQLite": sqlite3.sqlite_version, **served}


def main() -> None:
    """A look at a smaller size; nothing is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("changes", 500), ("rounds", 1), ("seconds", 5), ("queued", 1_000), ("queued-entities", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    found = measure(print, Size(**vars(parser.parse_args())))
    print(encode(found).decode())
    for title, about, heads, rows in sinks_tables.tables(found):
        print(f"\n{title}. {about}", *(" | ".join(row) for row in (heads, *rows)), sep="\n")


if __name__ == "__main__":
    main()
