"""What ours takes while Kafka stands still, into its spool, and how fast it sends that on afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.ingest_contenders import OURS, Run, Setting
from bench.ingest_memory import metric
from bench.ingest_run import WARM_UP_S, Stored, running, sent, stored_of
from bench.stage import Child

FROZEN_S = 5
"""Load on the stopped broker that is not measured: at first, each webhook waits for Kafka until it is spooled."""
DRAIN_S = 120.0
_POLL_S = 0.1
_WAITING, _DRAINED = "tradewind_spool_webhooks", "tradewind_spool_drained_total"


def measure(setting: Setting, *, seconds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Webhooks a second into the spool, and out of it.

    Raises:
        RuntimeError: ours ended, or the spool did not become empty.
    """
    report("spool: the broker stands still")
    with running(setting, OURS, "ingest-spool") as (run, process):
        warm_up = sent(run, seconds=WARM_UP_S)
        with _stopped(setting.stage.broker_pid):
            freezing = sent(run, seconds=FROZEN_S)
            answers = sent(run, seconds=seconds)
            waiting = metric(run, _WAITING)
        report("spool: the broker goes on")
        drained = _drained(run, process) if waiting else None
        stored = stored_of(run, warm_up, freezing, answers, deadline_s=DRAIN_S)
    return {
        "taken_per_s": round(answers.rate),
        "refused": answers.refused,
        "p50_ms": answers.p50_ms,
        "p99_ms": answers.p99_ms,
        "in_spool": int(waiting),
        "drained_per_s": drained,
        "stored": _stored_figures(stored),
    }


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _drained(run: Run, process: Child) -> int:
    """Webhooks a second from the first that left the spool until it is empty."""
    deadline = time.monotonic() + DRAIN_S
    start = last = metric(run, _DRAINED)
    began = time.monotonic()
    while metric(run, _WAITING):
        if not process.running or time.monotonic() > deadline:
            raise RuntimeError(f"the spool is not empty after {DRAIN_S:.0f} s: {run.log.read_text()[-2000:]}")
        time.sleep(_POLL_S)
        last = metric(run, _DRAINED)
        if last == start:
            began = time.monotonic()
    last = metric(run, _DRAINED)
    return round((last - start) / max(time.monotonic() - began, _POLL_S))


def _stored_figures(stored: Stored) -> dict[str, int]:
    # What was on its way when the broker stopped is spooled too, and may be in the log twice, with one receipt.
    return {"accepted": stored.accepted, "records": stored.records, "lost": stored.lost}


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured)."""
    stored = found["stored"]
    refused = f"; {found['refused']:,} refused" if found["refused"] else ""
    taken = f"{found['taken_per_s']:,} webhooks/s (p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms){refused}"
    drained = "-" if found["drained_per_s"] is None else f"{found['drained_per_s']:,} webhooks/s"
    lost = f"LOST {stored['lost']:,}" if stored["lost"] else "all"
    return [
        ("into the spool, broker stopped", "-", taken),
        ("out of the spool, broker back", "-", f"{drained} ({found['in_spool']:,} waited)"),
        (
            "spooled webhooks in the log",
            "all",
            f"{lost} ({stored['accepted']:,} accepted, {stored['records']:,} there)",
        ),
    ]
