"""Short seeded runs of the harness, as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEADLINE_S = 420
LAST_LINE = re.compile(
    r"sinks-chaos: changes (\d+), kills (\d+), rows (\d+) wrong 0, subscriber missing 0 disorder 0, "
    r"dead letters expected (\d+) got (\d+), logins (\d+) budget (\d+), reads/entity (\d+\.\d+)"
)


def run(*arguments: str) -> tuple[float, ...]:
    """The numbers of the last line of a run that was good."""
    command = [sys.executable, "-m", "tests.sinks_chaos", "--quick", "--seed", "1", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = LAST_LINE.fullmatch(ended.stdout.splitlines()[-1])
    assert last is not None, ended.stdout
    return tuple(map(float, last.groups()))


def test_killed_sinks_make_every_row_equal_to_servicetrade_and_tell_every_subscriber_in_order() -> None:
    changes, kills, rows, wanted, got, logins, budget, _ = run(
        "--scenario", "chaos", "--changes", "1500", "--accounts", "8", "--rate", "150"
    )
    assert changes >= 1500
    assert kills >= 3
    assert rows > 0
    assert wanted == got > 0
    assert logins <= budget


def test_a_backlog_costs_one_read_per_entity_on_postgresql() -> None:
    changes, kills, rows, wanted, got, logins, budget, per_entity = run(
        "--scenario", "backlog", "--store", "postgres", "--changes", "2000", "--accounts", "8", "--entities", "400"
    )
    assert (changes, kills, rows, wanted, got) == (2000, 0, 400, 0, 0)
    assert logins <= budget
    assert per_entity <= 1.1
