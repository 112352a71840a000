"""Whether ours stays as large as it is: its memory after 100,000 webhooks, and after 500,000."""

from __future__ import annotations

import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.ingest_contenders import OURS, Run, Setting
from bench.ingest_load import PATIENCE_S, answers_of, load
from bench.ingest_run import running, stored_of

PER_SECOND = 50_000
"""Webhooks in all, per second that a contender is measured: 500,000 for 10 s."""
FIRST = 5
"""It is looked at after a fifth of them for the first time: all that grows once has grown."""
LONGEST_S = 600
_SAMPLE_S = 1.0


def measure(setting: Setting, *, seconds: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Resident memory, MiB, once a second, beside how many webhooks had been answered.

    Raises:
        RuntimeError: ours ended, or took too long.
    """
    wanted = PER_SECOND * seconds
    report(f"memory over {wanted:,} webhooks")
    samples: list[tuple[int, float]] = []
    with running(setting, OURS, "ingest-memory") as (run, process):
        log = run.folder / f"{run.label}.wrk"
        with load(run.port, setting.requests, log, seconds=LONGEST_S) as sender:
            while not samples or samples[-1][0] < wanted:
                time.sleep(_SAMPLE_S)
                if not (process.running and sender.running):
                    raise RuntimeError(f"ours ended, or took too long: {run.log.read_text(errors='replace')[-2000:]}")
                samples.append((int(metric(run, "tradewind_webhooks_received_total")), rss_mb(process.pid)))
            # wrk tells what it counted when it is interrupted.
            sender.process.send_signal(signal.SIGINT)
            stored = stored_of(run, answers_of(sender, deadline_s=PATIENCE_S + 10))
    first = next(sample for sample in samples if sample[0] >= wanted // FIRST)
    return {
        "wanted": wanted,
        "first": first,
        "last": samples[-1],
        "growth_percent": round((samples[-1][1] / first[1] - 1) * 100, 1),
        "lost": stored.lost,
        "samples": samples,
    }


def metric(run: Run, name: str) -> float:
    """The sum of a metric of ours over its labels; 0 if there is none of that name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{run.ops_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def rss_mb(pid: int) -> float:
    """The memory that a process holds now, MiB (Linux: VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024, 1)


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured)."""
    (early, early_mb), (late, late_mb) = found["first"], found["last"]
    told = f"{early_mb:.1f} MiB after {early:,}, {late_mb:.1f} MiB after {late:,}: {found['growth_percent']:+.1f} %"
    told += f"; LOST {found['lost']:,}" if found["lost"] else ""
    return [(f"memory over {found['wanted']:,} webhooks", "flat", told)]
