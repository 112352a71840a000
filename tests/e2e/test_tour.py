"""What can be done with what `make run KEEP=1` leaves up: its day replayed, its hints, and the README's tour."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from runtime.broker import answers
from runtime.kafka import LogReader
from runtime.kafka.topics import ensure_topics, open_admin
from runtime.settings import Settings, read_settings
from schemas.encoding import decode
from schemas.record import LogRecord
from schemas.topics import CHANGES, DELIVERIES
from tests.e2e.demo_run import DemoRun, demo_run

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "README.md").read_text().partition("## A tour\n")[2].partition("\n## ")[0]
EXPORT, *COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TOUR, re.DOTALL) for line in block.splitlines()]
SHOWN: dict[str, list[str]] = {
    # Windows and the spool are told only if the processes were found, at the ports that the demo has written down.
    "tradewind status": ["open in 1 of 2 workers", "are in ingest's spool", "4 open dead letters of processors"],
    "tradewind tail changes": [r"birch +job/\d+ +created +\d+ +quiet"],
    "tradewind story": ["opens a window: created by user", "become change", "mirror delivered"],
    "tradewind deadletters list": ["birch +- +not-json"],
    "sed": [],
    "tradewind rules check": [r"rules\.toml is fine for 3 accounts"],
    "tradewind rules test": ["pass .*the echo of an own write makes no change", "2 examples passed"],
    "tradewind replay --from 1h --into diff": [
        r"vanish: [\s\S]*appointment/\d+[\s\S]*types\.appointment\.keep is false",
        r"appear: [\s\S]*attachment/\d+",
        "API reads of the mirror",
    ],
    "tradewind rules apply": [r"(?:(?:acme|birch|cedar): rules \w+ from \S+ offset \d+ on, after rules \w+\n){3}"],
    "tradewind replay --from 1h --into live": [r"[1-9]\d* changes into servicetrade\.changes\n"],
    "tradewind tail deliveries": ["mirror +skipped .* already delivered"],
    "tradewind replay --resume": [r"[1-9]\d* changes into narrow\n"],
}
"""What the tour's commands print."""
EXCERPTS = [line for block in re.findall(r"```text\n(.*?)```", TOUR, re.DOTALL) for line in block.splitlines()]

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoRun]:
    """A demo of few notifications, where its user would have it, which stays up."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (".venv", "demo"):
        (folder / name).symlink_to(ROOT / name)
    options = ("--keep", "--notifications", "200", "--duration-s", "5")
    with demo_run(folder / ".tradewind" / "demo", *options) as demo:
        demo.wait_for("Ctrl-C stops it", deadline_s=240)
        yield demo


def test_keep_leaves_everything_up(kept: DemoRun) -> None:
    kafka, store = kept.told("Kafka").rpartition(":")[2], kept.told("store")
    assert answers(int(kafka))
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        (rows,) = connection.execute("select count(*) from entities").fetchone()
    assert rows == kept.figure("rows") > 0


# -- the day, replayed -------------------------------------------------------------------------------------------------


async def test_a_day_replayed_by_the_same_rules_is_the_day_byte_for_byte_and_calls_nobody_twice(kept: DemoRun) -> None:
    config = Path(kept.told("configuration"))
    settings = read_settings(config)
    before = await deliveries(settings, len(day := await read_all(settings, CHANGES.name)))
    assert len(day) > 20
    (told,) = replayed("--into", "shadow", config=config)
    assert as_sent(await read_all(settings, "servicetrade.changes.shadow")).keys() == as_sent(day).keys()
    assert (told["changes"], told["still_open"]) == (len(as_sent(day)), 0)
    replayed("--into", "live", config=config)
    after = await deliveries(settings, len(before) + told["changes"])
    assert as_sent(await read_all(settings, CHANGES.name)).keys() == as_sent(day).keys()
    # What the mirror has nothing to do with is told as before; nothing is delivered twice.
    more = Counter(one["outcome"] for one in after) - Counter(one["outcome"] for one in before)
    assert more == {"skipped": told["changes"]}
    assert sum(one["reason"] == "already delivered" for one in after) > told["changes"] / 2
    *_, summary = replayed("--into", "diff", "--rules", "now", config=config)
    assert summary["summary"]["same"] == summary["summary"]["then"] == told["changes"]


def replayed(*options: str, config: Path) -> Any:
    command = [sys.executable, "-m", "cli.main", "replay", "--from", "1h", *options, "--config", str(config), "--json"]
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


# -- what a person does ------------------------------------------------------------------------------------------------


def run(line: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a line as a shell runs it."""
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def test_what_is_printed_to_be_tried_can_be_copied(kept: DemoRun) -> None:
    hints = re.findall(r"try +(.*)", kept.screen)
    words = [re.fullmatch(rf"\S+/tradewind (.*) --config {kept.told('configuration')}", hint) for hint in hints]
    status, story, replay = [found[1] for found in words if found]
    assert (status, replay) == ("status", "replay --from 1h --into live")
    code, told, complaint = run(hints[1], Path.cwd())
    assert code == 0, complaint
    entity, _, account = story.removeprefix("story ").partition(" --account ")
    assert f"{entity} of {account}: " in told
    assert "become change" in told


async def test_the_tour_works_as_written(kept: DemoRun) -> None:
    folder, printed = kept.folder.parents[1], set[str]()
    for line in COMMANDS:
        command = line.replace("0af31b2c", await ended_early(folder)) if "--resume" in line else line
        (patterns,) = [patterns for name, patterns in SHOWN.items() if line.startswith(name)]
        done = run(f"{EXPORT}\n{command}", folder)
        deadline = time.monotonic() + 30
        # What a command has caused may take the workers a moment.
        while line.startswith("tradewind tail") and not all_in(done[1], patterns) and time.monotonic() < deadline:
            done = run(f"{EXPORT}\n{command}", folder)
        # By its exit code the status says that the dead letters want a person.
        assert done[0] == int(line.startswith("tradewind status")), done
        assert all_in(done[1], patterns), done
        printed |= {shape(told) for told in done[1].splitlines()}
    assert len(COMMANDS) == len(SHOWN)
    assert {shape(line) for line in EXCERPTS if "…" not in line} - printed == set()


def all_in(told: str, patterns: list[str]) -> bool:
    return all(re.search(pattern, told) for pattern in patterns)


def shape(line: str) -> str:
    """The line without what is different in every run: figures, times and ids."""
    return " ".join(re.sub(r"\b[0-9a-f]{8}\b|[+-]?\d[\d:.]*( m?s\b)?", "0", line).split())


async def ended_early(folder: Path) -> str:
    """The id of a replay that did not get through, as its topic took no record for a while."""
    kafka = read_settings(folder / ".tradewind/demo/tradewind.toml").kafka
    limit = "max.message.bytes"
    await ensure_topics(kafka, [replace(CHANGES, name="narrow", config={limit: "10"})])
    code, _, complaint = run(f"{EXPORT}\ntradewind replay --from 1h --into shadow --topic narrow", folder)
    assert code == 1
    async with open_admin(kafka) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "narrow", {limit: "1000000"})])
    return complaint.partition("--resume ")[2].split()[0]


def test_ctrl_c_ends_what_was_kept(kept: DemoRun) -> None:
    kept.process.send_signal(signal.SIGINT)
    assert kept.finish(deadline_s=60) == 0
