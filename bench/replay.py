"""Replay and story: a long history through one process, beside other rules and into a topic, and one entity's life."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from bench.filling import fill
from bench.stage import Stage, ends, open_stage
from bench.workload import account_name, closing, generate
from runtime.kafka import Partition
from runtime.kafka.bookmarks import Bookmark, Bookmarks
from runtime.kafka.topics import ensure_topics, full_name
from runtime.settings import KafkaSettings
from schemas.topics import WEBHOOKS

NOTIFICATIONS = 1_000_000
ACCOUNTS = 50
SPAN_S = 6_000.0
TARGET_PER_S = 40_000
STORY_TARGET_S = 3.0
GROUP = "bench"
ENTITY = "job/2100000000000000"
"""One that every account of the workload has."""
_AGO_S = 7_200.0
_CONFIG = """
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[processors]
group = "{group}"
[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ env = "BENCH_SECRET" }}
"""
_ACCOUNT = """
[accounts.{name}]
username = "u"
password = {{ env = "BENCH_SECRET" }}
hook_secret = {{ env = "BENCH_SECRET" }}
"""
_RULES = """
[defaults.types.job]
ignore_users = [1600000000000000, 1600000000000001, 1600000000000002]
[defaults.types.invoice]
actions = ["created", "deleted"]
[defaults.types.quote]
quiet_s = 4
"""


@dataclass(frozen=True, slots=True)
class _Run:
    """One command, from its start to its end."""

    printed: str
    wall_s: float
    peak_mb: float


def measure(report: Callable[[str], None]) -> dict[str, Any]:
    """Records a second of a replay into a topic and of a diff, their memory, and the seconds of a story."""
    with open_stage(report=report) as stage:
        kafka = stage.kafka("replay.")
        start_ms = round((time.time() - _AGO_S) * 1000)
        report(f"replay: filling the log with {NOTIFICATIONS:,} notifications over {SPAN_S / 60:.0f} minutes")
        filled = asyncio.run(_fill(kafka, NOTIFICATIONS, start_ms))
        config = _configure(stage, kafka)
        since = datetime.fromtimestamp(start_ms / 1000, UTC).isoformat(timespec="milliseconds")
        figures: dict[str, Any] = {"notifications": NOTIFICATIONS, "records": filled, "span_s": SPAN_S}
        ways: Mapping[str, Sequence[str]] = {
            "shadow": ("--into", "shadow"),
            "diff": ("--into", "diff", "--rules", str(stage.folder / "rules.toml")),
        }
        for name, way in ways.items():
            report(f"replay: all of it into {name}")
            run = _tradewind("replay", "--from", since, *way, "--json", "--config", str(config))
            figures[name] = _replayed(run)
        report(f"story: {ENTITY} of {account_name(0)}")
        run = _tradewind("story", ENTITY, "--account", account_name(0), "--since", since, "--config", str(config))
        figures["story"] = {"wall_s": round(run.wall_s, 2), "lines": run.printed.count("\n")}
        figures["load_average"] = os.getloadavg()[0]
    return figures


async def _fill(kafka: KafkaSettings, notifications: int, start_ms: int) -> int:
    await ensure_topics(kafka)
    workload = generate(notifications, accounts=ACCOUNTS, start_ms=start_ms, span_s=SPAN_S)
    end_ms = start_ms + round(SPAN_S * 1000) + 60_000
    filled = await fill(kafka, chain(workload, closing(accounts=ACCOUNTS, at_ms=end_ms)))
    # As if a live run had done it all: a replay never goes beyond that.
    name = full_name(kafka, WEBHOOKS)
    committed = {Partition(name, number): Bookmark(end, "") for number, end in (await ends(kafka, name)).items()}
    async with Bookmarks.open(kafka, GROUP) as bookmarks:
        await bookmarks.put(committed)
    return filled


def _configure(stage: Stage, kafka: KafkaSettings) -> Path:
    config = stage.folder / "tradewind.toml"
    text = _CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, group=GROUP)
    config.write_text(text + "".join(_ACCOUNT.format(name=account_name(number)) for number in range(ACCOUNTS)))
    (stage.folder / "rules.toml").write_text(_RULES)
    return config


def _tradewind(*arguments: str) -> _Run:
    """Run a command as a person does.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    environ = {**os.environ, "BENCH_SECRET": "of-no-use-in-a-measurement"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environ,
        )
        # Not `wait`: only this tells what it used.
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            said = err.read().decode()[-3000:]
            raise RuntimeError(f"tradewind {arguments[0]} ended with {process.returncode}: {said}")
        return _Run(printed=out.read().decode(), wall_s=wall_s, peak_mb=used.ru_maxrss / 1024)


def _replayed(run: _Run) -> dict[str, Any]:
    """From the last line that it printed."""
    told = json.loads(run.printed.splitlines()[-1])
    return {
        "per_s": round(told["records"] / told["seconds"]),
        "seconds": round(told["seconds"], 1),
        "wall_s": round(run.wall_s, 1),
        "peak_mb": round(run.peak_mb),
        "still_open": told["still_open"],
    }


def rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(figure, target, measured)."""
    many, minutes = figures["notifications"], figures["span_s"] / 60
    shadow, diff, story = figures["shadow"], figures["diff"], figures["story"]
    return [
        (
            f"replay of {many:,} notifications over {minutes:.0f} minutes, one process",
            f">= {TARGET_PER_S:,}/s",
            f"{shadow['per_s']:,}/s ({shadow['seconds']} s)",
        ),
        ("its peak memory", "bounded", f"{shadow['peak_mb']:,} MiB"),
        ("the same beside other rules (diff: two cores)", "-", f"{diff['per_s']:,}/s ({diff['seconds']} s)"),
        ("its peak memory", "bounded", f"{diff['peak_mb']:,} MiB"),
        ("story of one entity in that log", f"< {STORY_TARGET_S:g} s", f"{story['wall_s']} s"),
    ]
