"""Short seeded runs of the harness, as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300
LAST_LINE = re.compile(
    r"ingest-chaos: scenario \S+, sent (\d+), answered 2xx (\d+), spooled (\d+), refused (\d+), missing 0, "
    r"unexplained repeats 0, out of order 0, same receipt twice \d+, answers over 5 s \d+"
)


@pytest.mark.parametrize(
    ("scenario", "seconds"),
    [("killed", "6"), ("mute", "5"), ("full-spool", "2")],
    ids=["broker-and-ingest-killed", "broker-mute", "spool-full"],
)
def test_every_webhook_that_was_answered_2xx_is_in_the_raw_log(scenario: str, seconds: str) -> None:
    command = [sys.executable, "-m", "tests.ingest_chaos", "--scenario", scenario, "--seconds", seconds]
    command += ["--rate", "100", "--seed", "1", "--ack-timeout", "0.5"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = LAST_LINE.fullmatch(ended.stdout.splitlines()[-1])
    assert last is not None, ended.stdout
    sent, accepted, spooled, refused = map(int, last.groups())
    assert sent == accepted + refused
    assert accepted > 0
    assert spooled > 0
