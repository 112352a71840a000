"""A whole office day of `make run`, replayed: the same ids and bytes, and no sink does anything twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runtime.kafka import LogReader
from runtime.settings import Settings, read_settings
from schemas.encoding import decode
from schemas.record import LogRecord
from schemas.topics import CHANGES, DELIVERIES
from tests.e2e.demo_run import demo_run

pytestmark = pytest.mark.anyio


def tradewind(*arguments: str, config: Path) -> Any:
    command = [sys.executable, "-m", "cli.main", *arguments, "--config", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def read_all(settings: Settings, name: str) -> list[LogRecord]:
    found: list[LogRecord] = []
    async with LogReader.open(settings.kafka, client_id="test") as reader:
        for partition in await reader.partitions(settings.kafka.topic_prefix + name):
            async for batch in reader.read(partition, 0, await reader.end(partition)):
                found += batch
    return found


def as_sent(records: list[LogRecord]) -> Counter[object]:
    return Counter((record.key, record.value, record.headers) for record in records)


async def deliveries(settings: Settings, count: int) -> list[dict[str, Any]]:
    end = time.monotonic() + 60
    while len(found := await read_all(settings, DELIVERIES.name)) < count:
        assert time.monotonic() < end, f"{len(found)} of {count} deliveries"
    return [decode(record.value or b"") for record in found]


async def test_a_day_replayed_by_the_same_rules_is_the_day_byte_for_byte_and_calls_nobody_twice(
    tmp_path: Path,
) -> None:
    with demo_run(tmp_path / "demo", "--keep", "--notifications", "200", "--duration-s", "5") as demo:
        config = Path(demo.wait_for(r"configuration (\S+)", deadline_s=240)[0][1])
        demo.wait_for("Ctrl-C stops it", deadline_s=10)
        settings = read_settings(config)
        day = await read_all(settings, CHANGES.name)
        assert len(day) > 20
        (told,) = tradewind("replay", "--from", "1h", "--into", "shadow", config=config)
        assert as_sent(await read_all(settings, "servicetrade.changes.shadow")).keys() == as_sent(day).keys()
        assert (told["changes"], told["still_open"]) == (len(as_sent(day)), 0)
        before = await deliveries(settings, 0)
        tradewind("replay", "--from", "1h", "--into", "live", config=config)
        after = await deliveries(settings, len(before) + told["changes"])
        assert as_sent(await read_all(settings, CHANGES.name)).keys() == as_sent(day).keys()
        # What the mirror has nothing to do with is told as before; nothing is delivered twice.
        more = Counter(one["outcome"] for one in after) - Counter(one["outcome"] for one in before)
        assert more == {"skipped": told["changes"]}
        assert sum(one["reason"] == "already delivered" for one in after) > told["changes"] / 2
        *_, summary = tradewind("replay", "--from", "1h", "--into", "diff", "--rules", "now", config=config)
        assert summary["summary"]["same"] == summary["summary"]["then"] == told["changes"]
