"""One run of one contender of the ingest section: a topic of its own, warm-up, the measured load, what is stored."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from bench.ingest_contenders import Contender, Run, Setting, wait_until_ready
from bench.ingest_load import CONNECTIONS, PATIENCE_S, Answers, answers_of, load
from bench.stage import Child, ends, usage
from runtime.kafka.topics import ensure_topics, open_admin
from schemas.topics import WEBHOOKS

WARM_UP_S = 2
_POLL_S = 0.3
SETTLE_S = 15.0
"""How long what was accepted may take to be in the topic: what was spooled on the way is drained by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is in the topic, and what was answered; warm-up included."""

    records: int
    accepted: int
    open: int
    """Requests whose answer nobody counted, or that were refused: each may or may not be in the topic."""

    @property
    def lost(self) -> int:
        """Accepted, but not in the topic."""
        return max(0, self.accepted - self.records)

    @property
    def more(self) -> int:
        """In the topic, but from no request: some are there twice."""
        return max(0, self.records - self.accepted - self.open)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of one contender."""

    answers: Answers
    cpu_s_per_1000: float
    """CPU seconds of the contender's process, all its threads, per 1,000 requests accepted."""
    peak_rss_mb: float
    load: float
    """The machine's load average at the end; far above the number of CPUs, others were at work."""
    stored: Stored | None
    """None for a contender that stores nothing."""


@contextmanager
def running(setting: Setting, contender: Contender, label: str) -> Iterator[tuple[Run, Child]]:
    """A contender that takes requests, with an empty topic; both are gone on leaving.

    Raises:
        RuntimeError: it does not start.
    """
    run = Run.new(setting, label)
    asyncio.run(_make_topic(run))
    try:
        with contender.start(run) as process:
            wait_until_ready(contender, run, process)
            yield run, process
    finally:
        asyncio.run(_remove_topic(run))


def one_run(setting: Setting, contender: Contender, label: str, *, seconds: int) -> Result:
    """Warm it up, measure it, and compare what it accepted with what is stored.

    Raises:
        RuntimeError: it did not start, ended, or accepted nothing.
        NotAtHandError: wrk is not installed.
    """
    with running(setting, contender, label) as (run, process):
        warm_up = sent(run, seconds=WARM_UP_S)
        before = usage(process.pid)
        answers = sent(run, seconds=seconds)
        if not process.running or not answers.accepted:
            raise RuntimeError(f"{contender.name} took nothing: {run.log.read_text(errors='replace')[-2000:]}")
        after, average = usage(process.pid), os.getloadavg()[0]
        stored = stored_of(run, warm_up, answers) if contender.stores else None
    return Result(
        answers=answers,
        cpu_s_per_1000=(after.cpu_s - before.cpu_s) * 1000 / answers.accepted,
        peak_rss_mb=after.peak_rss_mb,
        load=average,
        stored=stored,
    )


def sent(run: Run, *, seconds: int) -> Answers:
    """Send for so long, and say what wrk counted.

    Raises:
        RuntimeError: wrk failed.
        NotAtHandError: it is not installed.
    """
    log = run.folder / f"{run.label}.{time.monotonic_ns()}.wrk"
    with load(run.port, run.setting.requests, log, seconds=seconds) as sender:
        return answers_of(sender, deadline_s=seconds + PATIENCE_S + 10)


def stored_of(run: Run, *loads: Answers, deadline_s: float = SETTLE_S) -> Stored:
    """Wait until all that was accepted is stored and no more comes, or until the deadline; then count."""
    accepted = sum(one.accepted for one in loads)
    unknown = sum(one.refused + one.socket_errors + CONNECTIONS for one in loads)
    records = asyncio.run(_settled(run, accepted, deadline_s))
    return Stored(records=records, accepted=accepted, open=unknown)


async def _settled(run: Run, enough: int, deadline_s: float) -> int:
    deadline, before = time.monotonic() + deadline_s, -1
    while True:
        try:
            found = sum((await ends(run.kafka, run.topic)).values())
        except KafkaError:  # a broker that stood still takes its time
            if time.monotonic() > deadline:
                raise
            found = -1
        if found == before >= enough or time.monotonic() > deadline:
            return found
        before = found
        await asyncio.sleep(_POLL_S)


async def _make_topic(run: Run) -> None:
    """Returns once the broker knows of it, which takes its time."""
    await ensure_topics(run.kafka, [WEBHOOKS])
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            await ends(run.kafka, run.topic)
        except UnknownTopicOrPartitionError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_S)
        else:
            return


async def _remove_topic(run: Run) -> None:
    """So that every run finds the same broker."""
    async with open_admin(run.kafka) as admin:
        await admin.delete_topics([run.topic])


def figures(result: Result) -> dict[str, Any]:
    """The run, for JSON."""
    answers, stored = result.answers, result.stored
    return {
        **asdict(answers),
        "rate": round(answers.rate),
        "cpu_s_per_1000": round(result.cpu_s_per_1000, 4),
        "peak_rss_mb": round(result.peak_rss_mb, 1),
        "load": round(result.load, 2),
        "stored": stored and {**asdict(stored), "lost": stored.lost, "more": stored.more},
    }
