"""What docs/up.md says is so."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

from fleet.specs import DRAIN_S
from runtime.process import DRAIN_S as PROCESS_DRAIN_S

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "up.md").read_text("utf-8")


def test_it_is_short_enough_to_be_read() -> None:
    assert len(TEXT.splitlines()) <= 60


def test_every_option_is_one() -> None:
    command = [sys.executable, "-m", "cli.main", "up", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    named = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert named >= {"--only", "--json-logs", "--processors", "--log-dir"}
    assert {option for option in named if option not in told} == set()


def test_the_unit_gives_up_the_time_that_a_drain_may_take() -> None:
    (unit,) = re.findall(r"```ini\n(.*?)```", TEXT, re.DOTALL)
    service = configparser.ConfigParser(interpolation=None)
    service.read_string(unit)
    rounds = 3  # processors and sinks, ingest, the broker
    assert service.getint("Service", "TimeoutStopSec") > rounds * DRAIN_S
    assert DRAIN_S > PROCESS_DRAIN_S
    assert service.get("Service", "KillMode") == "mixed"
