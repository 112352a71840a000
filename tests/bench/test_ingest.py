"""The ingest section: what it sends, what it makes of the counts, and what it says where a tool is missing."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.ingest import HEADS, rows, target_rows
from bench.ingest_contenders import CONTENDERS, EMPTY, OURS, Contender, Setting
from bench.ingest_load import ACCOUNTS, BODIES, CONNECTIONS, Answers, read_answers, write_requests
from bench.ingest_run import Result, Stored, figures, running, stored_of
from bench.stage import Stage

ROOT = Path(__file__).parents[2]
ANSWERS = Answers(answers=100, refused=0, socket_errors=0, seconds=1.0, p50_ms=1.0, p99_ms=2.0, max_ms=3.0)
WRK_SAYS = """Running 3s test @ http://127.0.0.1:1
  Requests/sec: 33.33

{"answers": 100, "refused": 4, "socket_errors": 1, "seconds": 3.0, "p50_ms": 1.5, "p99_ms": 9.25, "max_ms": 12.0}
"""


def told(contender: Contender, *rates: int, p99_ms: float = 2.0, lost: int = 0) -> dict[str, Any]:
    results = [
        Result(
            answers=replace(ANSWERS, answers=rate, p99_ms=p99_ms),
            cpu_s_per_1000=0.05,
            peak_rss_mb=50.0,
            load=1.0,
            stored=Stored(records=rate - lost, accepted=rate, open=0) if contender.stores else None,
        )
        for rate in rates
    ]
    return {"name": contender.name, "title": contender.title, "runs": [figures(result) for result in results]}


def measured(*contenders: dict[str, Any]) -> dict[str, Any]:
    missing = {"why": "not at hand"}
    found = {one["name"]: one for one in contenders}
    all_of_them = [found.get(one.name, {"name": one.name, "title": one.title, **missing}) for one in CONTENDERS]
    return {"runs": 3, "seconds": 10, "contenders": all_of_them}


def row_of(contender: Contender, figures_of_all: dict[str, Any]) -> dict[str, str]:
    table = {row[0]: dict(zip(HEADS, row, strict=True)) for row in rows(figures_of_all)}
    return table[contender.title]


def test_the_counts_are_read_from_the_last_line_of_wrk() -> None:
    answers = read_answers(WRK_SAYS)
    assert (answers.accepted, answers.rate, answers.p99_ms) == (96, 32.0, 9.25)


def test_what_wrk_says_when_it_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        read_answers("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_the_requests_go_to_the_urls_of_all_accounts_in_turn(tmp_path: Path) -> None:
    write_requests(tmp_path / "requests")
    lines = (tmp_path / "requests").read_text().splitlines()
    paths, bodies = lines[::2], lines[1::2]
    assert len(paths) == len(bodies) == BODIES
    assert len(set(paths[:ACCOUNTS])) == ACCOUNTS
    assert paths[ACCOUNTS : 2 * ACCOUNTS] == paths[:ACCOUNTS]
    assert all(path.startswith("/webhooks/account-") for path in paths)
    assert 320 <= sum(map(len, bodies)) / BODIES <= 400
    assert len(set(bodies)) == BODIES


def test_a_webhook_that_was_accepted_and_is_not_stored_is_lost() -> None:
    assert Stored(records=99, accepted=100, open=CONNECTIONS).lost == 1
    assert row_of(OURS, measured(told(OURS, 100, 100, lost=7)))["stored"] == "LOST 14"


def test_more_records_than_requests_are_found_out_but_for_those_that_nobody_counted() -> None:
    assert Stored(records=100 + CONNECTIONS, accepted=100, open=CONNECTIONS).more == 0
    assert Stored(records=101 + CONNECTIONS, accepted=100, open=CONNECTIONS).more == 1


def test_a_contender_that_stores_nothing_is_not_said_to_have_stored_all() -> None:
    assert row_of(EMPTY, measured(told(EMPTY, 10)))["stored"] == "-"


def test_a_ratio_is_that_of_runs_of_the_same_round() -> None:
    found = measured(told(OURS, 100, 1000, 300, p99_ms=6.0), told(EMPTY, 200, 2000, 400, p99_ms=4.0))
    assert row_of(EMPTY, found)["ours : it"] == "0.50"
    targets = {row[0]: row[1:] for row in target_rows(found)}
    assert targets["webhooks/s, ours : empty"] == (">= 0.55", "0.50")
    assert targets["p99, ours : empty"] == ("<= 2", "1.50")


def test_the_table_says_who_was_not_at_hand() -> None:
    found = measured(told(OURS, 100))
    assert [row[1] for row in rows(found)] == ["100", *["not at hand"] * 3]
    assert ("webhooks/s, ours : go", ">= 0.8", "-") in target_rows(found)


@pytest.mark.parametrize("contender", [OURS, EMPTY], ids=lambda one: one.name)
def test_a_request_to_a_contender_is_answered_204_and_counted(
    contender: Contender, broker: str, tmp_path: Path
) -> None:
    stage = Stage(folder=tmp_path, bootstrap_servers=broker, broker_pid=0)
    requests = tmp_path / "requests"
    write_requests(requests)
    path, body = requests.read_text().splitlines()[:2]
    setting = Setting(stage=stage, requests=requests, spools=tmp_path, python=Path(sys.executable), go=None)
    with running(setting, contender, f"test-{contender.name}") as (run, _):
        connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=20)
        connection.request("POST", path, body)
        assert connection.getresponse().status == 204
        connection.close()
        if contender.stores:
            assert stored_of(run, replace(ANSWERS, answers=1)).records == 1


def test_without_wrk_the_section_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--only", "ingest"]
    env = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "apt-get install wrk" in done.stdout


def test_a_name_that_nobody_has_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "--only", "nobody"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "there is no contender nobody\n")
