"""One run of one contender over changes that wait: rate, CPU time, reads, and whether every row is right."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import text

from bench.environment import ROOT
from bench.sinks_office import PASSWORD, TYPE, username
from bench.sinks_postgres import Postgres
from bench.sinks_queue import Queue
from bench.sinks_site import ACCOUNT_CONCURRENCY, CONCURRENCY, Run, Site
from bench.sinks_usage import Meters, Sample, used, watched
from bench.stage import Child, child, ends, read_all, usage
from runtime.database import open_database, reading
from runtime.kafka import LogReader
from runtime.kafka.topics import full_name
from schemas.encoding import decode
from schemas.topics import CHANGES, DELIVERIES

RUN_S = 120.0
"""No run may take longer."""
_ROWS = "SELECT entity_id, account, data FROM entities WHERE entity_type = :type AND deleted_at IS NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of one contender."""

    seconds: float
    """From its first outcome to its last."""
    rate: float
    """Changes a second in that time."""
    cpu_s_per_1000: Mapping[str, float]
    """In that time, by process, per 1,000 changes."""
    reads: int
    """GETs of entities that the simulator answered."""
    outcomes: Mapping[str, int]
    """Of the changes."""
    rows_right: int | None
    """Rows that are what the simulator shows; None for one that has no store."""
    rows_wanted: int
    load: float
    """The machine's load average at the end; far above the number of CPUs, others were at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """What a run told: the outcomes, when the first and the last were there, and what was used meanwhile."""

    outcomes: Mapping[str, int]
    first_ms: float
    last_ms: float
    samples: list[Sample]


def ours(site: Site, queue: Queue, label: str, postgres: Postgres | None = None) -> Result:
    """`tradewind sink mirror` on a new SQLite file, or on a new database of that server.

    Raises:
        RuntimeError: it did not start, ended, or took too long.
    """
    url = None if postgres is None else asyncio.run(postgres.new_database(label))
    run = Run.new(site, label, queue.kafka, url)
    return asyncio.run(_result(run, queue, postgres))


def plain(site: Site, queue: Queue, label: str) -> Result:
    """The plain loop. Raises: as `ours`."""
    run = Run.new(site, label, queue.kafka)
    return asyncio.run(_plain_result(run, queue))


async def _result(run: Run, queue: Queue, postgres: Postgres | None) -> Result:
    topic = full_name(queue.kafka, DELIVERIES)
    read_before, before = await run.site.office.reads(), await ends(queue.kafka, topic)
    async with run.process("sink", "mirror") as process, LogReader.open(queue.kafka, client_id="bench") as reader:
        partitions, wanted = await reader.partitions(topic), sum(before.values()) + queue.changes

        async def is_done() -> bool:
            return sum((await reader.ends(partitions)).values()) >= wanted

        meters = _meters(run.site, process)
        if postgres is not None:
            meters = {**meters, "store": postgres.cpu_s}
        samples = await watched(process, meters, is_done, deadline_s=RUN_S)
    span = _span(await read_all(queue.kafka, topic, before), samples)
    return await _judged(run, queue, span, read_before, has_store=True)


def _span(records: list[Any], samples: list[Sample]) -> _Span:
    """Of the deliveries, the first of each change."""
    first: dict[str, tuple[float, str]] = {}
    for record in sorted(records, key=lambda record: record.timestamp):
        delivery = decode(record.value or b"")
        first.setdefault(delivery["change_id"], (record.timestamp, delivery["outcome"]))
    times = [timestamp for timestamp, _ in first.values()]
    outcomes = Counter(outcome for _, outcome in first.values())
    return _Span(outcomes=outcomes, first_ms=min(times), last_ms=max(times), samples=samples)


async def _plain_result(run: Run, queue: Queue) -> Result:
    site, folder = run.site, run.site.stage.folder
    read_before = await site.office.reads()
    accounts = folder / "plain-accounts.json"
    accounts.write_text(json.dumps({name: {"username": username(name), "password": PASSWORD} for name in site.jobs}))
    given = {
        "servers": queue.kafka.bootstrap_servers,
        "topic": full_name(queue.kafka, CHANGES),
        "group": run.label,
        "api": site.office.url,
        "accounts": accounts,
        "changes": queue.changes,
        "concurrency": CONCURRENCY,
        "account-concurrency": ACCOUNT_CONCURRENCY,
    }
    command = [sys.executable, "-m", "bench.sinks_plain"]
    command += [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    with child(command, folder / f"{run.label}.log", env={"PYTHONPATH": str(ROOT)}) as process:

        async def is_done() -> bool:
            return _told(process) is not None

        samples = await watched(process, _meters(site, process), is_done, deadline_s=RUN_S)
        told = _told(process) or {}
    span = _Span(outcomes=told["outcomes"], first_ms=told["first_ms"], last_ms=told["last_ms"], samples=samples)
    return await _judged(run, queue, span, read_before, has_store=False)


def _told(process: Child) -> dict[str, Any] | None:
    lines = process.log.read_text(errors="replace").splitlines(keepends=True)
    found: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
    return found[-1] if found else None


def _meters(site: Site, process: Child) -> Meters:
    pids = {"contender": process.pid, "simulator": site.office.process.pid, "Kafka": site.stage.broker_pid}
    return {name: lambda pid=pid: usage(pid).cpu_s for name, pid in pids.items()}  # type: ignore[misc]


async def _judged(run: Run, queue: Queue, span: _Span, read_before: int, *, has_store: bool) -> Result:
    load = os.getloadavg()[0]
    count = sum(span.outcomes.values())
    if count != queue.changes:
        raise RuntimeError(f"{count:,} of {queue.changes:,} changes have an outcome")
    seconds = max(span.last_ms - span.first_ms, 1.0) / 1000
    cpu = used(span.samples, span.first_ms, span.last_ms)
    return Result(
        seconds=seconds,
        rate=count / seconds,
        cpu_s_per_1000={name: cpu_s * 1000 / count for name, cpu_s in cpu.items()},
        reads=await run.site.office.reads() - read_before,
        outcomes=dict(span.outcomes),
        rows_right=await rows_right(run, queue) if has_store else None,
        rows_wanted=len(queue.entities),
        load=load,
    )


async def rows_right(run: Run, queue: Queue) -> int:
    """How many of the entities have a row that is what the simulator shows."""
    jobs = await run.site.office.jobs(list(run.site.jobs))
    async with open_database(run.store) as database, reading(database).connect() as connection:
        rows = (await connection.execute(text(_ROWS), {"type": TYPE})).all()
    found = {(row.account, int(row.entity_id)): row.data for row in rows}
    return sum(_decoded(found.get(entity)) == jobs[entity] for entity in queue.entities)


def _decoded(data: Any) -> Any:
    # PostgreSQL's driver reads JSON, SQLite's knows none.
    return json.loads(data) if isinstance(data, str | bytes) else data


def figures(result: Result) -> dict[str, Any]:
    """The run, for JSON."""
    rounded = {name: round(value, 2) for name, value in asdict(result).items() if isinstance(value, float)}
    cpu = {name: round(value, 4) for name, value in result.cpu_s_per_1000.items()}
    return {**asdict(result), **rounded, "cpu_s_per_1000": cpu}
