"""`make run` as its user sees it: every notification is accounted for, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

from cryptography.fernet import Fernet

from tests.e2e.demo_run import DemoRun, alive, demo_run

QUICK = ("processors-1", "ingest", "mirror-1", "processors-2")
"""The product's own processes, in the order of being killed."""
PATIENCE_S = 3.0
"""ServiceTrade's sender tries again 1 s and 3 s after a connection was refused, and then never again."""


def test_nothing_is_lost_when_each_process_is_killed_in_turn(tmp_path: Path) -> None:
    with demo_run(tmp_path / "demo") as demo:
        demo.wait_for("kill any of these", deadline_s=120)
        for count, victim in enumerate(QUICK, start=1):
            os.kill(demo.pids()[victim], signal.SIGKILL)
            demo.wait_for(r"ready again", deadline_s=60, times=count)
            demo.wait_for(r"webhooks \d+/\d+", deadline_s=30, times=2 * count)  # the day goes on for a while
        demo.wait_for("the day is over", deadline_s=120)  # and windows are still open
        os.kill(demo.pids()["broker"], signal.SIGKILL)
        code = demo.finish(deadline_s=240)
    expect_all_accounted_for(demo, code)
    expect_no_secret_outside_its_file(demo)
    if demo.outage("ingest") <= PATIENCE_S:
        assert demo.figure("refused for good") == 0, demo.screen


def test_nothing_is_lost_when_the_broker_is_killed_while_webhooks_come_in(tmp_path: Path) -> None:
    with demo_run(tmp_path / "demo") as demo:
        demo.wait_for("kill any of these", deadline_s=120)
        demo.wait_for(r"webhooks \d+/\d+", deadline_s=30, times=5)
        os.kill(demo.pids()["broker"], signal.SIGKILL)
        code = demo.finish(deadline_s=300)
    expect_all_accounted_for(demo, code)
    if demo.outage("broker") <= PATIENCE_S:
        assert demo.figure("refused for good") == 0, demo.screen


def expect_all_accounted_for(demo: DemoRun, code: int) -> None:
    assert demo.figure("lost") == 0, demo.screen
    assert demo.figure("webhooks sent") > 1000
    assert demo.figure("notifications") >= 2000 or demo.figure("refused for good"), demo.screen
    assert demo.figure("changes") < demo.figure("notifications") / 2
    assert "acme 1, birch 1, cedar 1" in demo.screen, "one login per account, whatever was restarted"
    # What ServiceTrade gave up on while everything was away for too long is missing from the rows, and that is told.
    assert code == 0 or demo.figure("refused for good") > 0, demo.screen


def expect_no_secret_outside_its_file(demo: DemoRun) -> None:
    """In all that the run wrote: logs, topics, store, configuration, screen."""
    files = [path for path in demo.folder.rglob("*") if path.is_file()]
    secrets = {path.name: path.read_bytes().strip() for path in files if path.parent.name == "secrets"}
    key = Fernet(secrets["store-key"])
    with sqlite3.connect(demo.folder / "store.db") as store:
        secrets |= {
            f"token of {name}": key.decrypt(token)
            for name, token in store.execute("SELECT account, token FROM sessions")
        }
    assert len(secrets) == 1 + 3 * 3, sorted(secrets)
    written = {path.name: path.read_bytes() for path in files if path.parent.name != "secrets"}
    assert any(b"process.started" in text for text in written.values()), "the logs are among what is looked at"
    found = {(name, where) for name, secret in secrets.items() for where, text in written.items() if secret in text}
    assert not found
    assert not [name for name, secret in secrets.items() if secret.decode() in demo.screen]


def test_a_second_demo_in_the_same_folder_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    with demo_run(tmp_path / "demo", "--notifications", "60", "--duration-s", "3") as demo:
        demo.wait_for("starting", deadline_s=120)
        with demo_run(tmp_path / "demo") as second:
            assert second.finish(deadline_s=60) == 2
        assert "a demo is running in" in second.screen
        assert demo.finish(deadline_s=240) == 0, demo.screen
    expect_no_secret_outside_its_file(demo)


def test_ctrl_c_stops_everything_and_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo_run(tmp_path / "demo") as demo:
        demo.wait_for("kill any of these", deadline_s=120)
        pids = demo.pids()
        demo.process.send_signal(signal.SIGINT)
        assert demo.finish(deadline_s=60) == 130
    assert "stopped" in demo.screen
    assert [name for name, pid in pids.items() if alive(pid)] == []


def test_a_demo_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo_run(tmp_path / "demo") as demo:
        demo.wait_for("kill any of these", deadline_s=120)
        pids = demo.pids()
        demo.process.kill()
        demo.process.wait()
        end = time.monotonic() + 30
        while left := [name for name, pid in pids.items() if alive(pid)]:
            assert time.monotonic() < end, left
            time.sleep(0.05)


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with demo_run(tmp_path) as demo:
        assert demo.finish(deadline_s=60) == 2
    assert "was not made by the demo" in demo.screen
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
