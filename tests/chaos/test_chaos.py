"""A short seeded run of the harness, as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE_S = 300
LAST_LINE = re.compile(
    r"chaos: faults (\d+), notifications (\d+), expected (\d+), got (\d+), missing 0, extra 0, wrong 0, repeats \d+"
)


def test_a_run_with_faults_loses_nothing_adds_nothing_and_changes_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seed", "4", "--minutes", "0.75"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = LAST_LINE.fullmatch(ended.stdout.splitlines()[-1])
    assert last is not None, ended.stdout
    faults, notifications, expected, got = map(int, last.groups())
    assert faults >= 5
    assert notifications > expected == got > 0
