"""`tradewind up` with real processes: everything up, killed, drained; and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.fleet.running import Receiver, Site, Up, alive, answers_2xx, receiving, servicetrade, tradewind_up, until

NAMES = ("broker", "ingest", "processors-1", "processors-2", "mirror-1", "command-1", "forward-1", "custom-noting-1")


@dataclass
class Whole:
    """Everything: the pipeline, the simulated ServiceTrade before it, a subscriber behind it."""

    site: Site
    up: Up
    receiver: Receiver


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with receiving() as receiver:
        site = Site(tmp_path_factory.mktemp("up"), subscriber_port=receiver.port)
        with servicetrade(site), tradewind_up(site) as up:
            up.wait_for("all are ready after", deadline_s=120)
            yield Whole(site, up, receiver)


def tradewind(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *arguments, "--config", str(site.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=site.folder)


def is_gone_from(up: Up, pid: int) -> bool:
    return pid not in up.children()


def rows(site: Site, entity_type: str) -> list[str]:
    with sqlite3.connect(site.folder / "store.db") as store:
        found = store.execute("SELECT name FROM entities WHERE entity_type = ?", (entity_type,)).fetchall()
    return [name for (name,) in found]


def test_everything_that_is_configured_runs_and_acts(whole: Whole) -> None:
    """A command makes a company; its webhook comes back as a change, and every sink acts on it."""
    site = whole.site
    assert tuple(whole.up.pids()) == NAMES
    assert tradewind(site, "subscribe", "main").returncode == 0
    order = ("--account", "main", "--method", "POST", "--type", "company", "--body", '{"name": "by command"}')
    told = tradewind(site, "command", "send", *order)
    assert told.returncode == 0, told.stdout + told.stderr
    until(lambda: rows(site, "company") == ["by command"])
    until(lambda: site.noted.exists() and site.noted.read_text().startswith("company/"))
    until(lambda: whole.receiver.bodies != [])
    assert json.loads(whole.receiver.bodies[0])["data"]["entity_type"] == "company"


def test_a_process_that_is_killed_is_back_and_the_others_are_untouched(whole: Whole) -> None:
    before = whole.up.pids()
    os.kill(before["processors-1"], signal.SIGKILL)
    told = r"processors-1 died \(signal 9, SIGKILL\), restarted after \d+\.\d s, ready after \d+\.\d s, pid \d+"
    whole.up.wait_for(told, deadline_s=60)
    after = whole.up.pids()
    assert after.pop("processors-1") != before.pop("processors-1")
    assert after == before
    assert all(map(alive, after.values()))
    assert not whole.up.lines_of("processors-2", after="processors-1 died"), "its partitions were kept for it"


def test_a_second_one_is_refused_and_does_no_harm(whole: Whole) -> None:
    with tradewind_up(whole.site) as second:
        assert second.finish() == 2
    pid = whole.up.process.pid
    assert second.screen == f"tradewind: {whole.site.config} is up already (pid {pid}): stop that one first\n"
    assert all(map(alive, whole.up.pids().values()))


def test_every_process_has_a_log_of_its_own(whole: Whole) -> None:
    found = {path.stem: path.read_text() for path in (whole.site.folder / ".tradewind" / "logs").glob("*.log")}
    assert set(found) == set(NAMES)
    assert '"event": "process.started"' in found["custom-noting-1"]


def test_ctrl_c_drains_everything_and_leaves_nothing(whole: Whole) -> None:
    """The last one on this pipeline."""
    pids = whole.up.pids()
    whole.up.process.send_signal(signal.SIGINT)
    assert whole.up.finish() == 0, whole.up.screen
    assert whole.up.lines[-1].endswith("stopped; all had finished what they held\n")
    assert [name for name, pid in pids.items() if alive(pid)] == []
    ended = {name: whole.up.screen.rindex(f"{name:<15} | ") for name in NAMES if name != "broker"}
    assert max(ended, key=lambda name: ended[name]) == "ingest", "it takes webhooks until the others have drained"


def test_a_pipeline_that_is_killed_takes_all_with_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with tradewind_up(site, "--only", "broker", "ingest") as up:
        up.wait_for("all are ready after")
        pids = up.pids()
        assert set(pids) == {"broker", "ingest"}
        up.process.kill()
        up.process.wait()
        until(lambda: not any(map(alive, pids.values())))
    # SIGTERM: it has closed its log in order.
    assert (site.folder / "kafka" / "kafka" / ".kafka_cleanshutdown").exists()


def test_without_a_broker_ingest_spools_and_is_stopped_in_order(tmp_path: Path) -> None:
    with tradewind_up(Site(tmp_path), "--only", "ingest", "--json-logs") as up:
        up.wait_for('"up.ready"')
        up.wait_for('"up.waiting".*nobody listens there')
        up.process.send_signal(signal.SIGTERM)
        assert up.finish() == 0
    told = [json.loads(line) for line in up.lines]
    assert {one["process"] for one in told} == {"up", "ingest"}
    assert {one["name"] for one in told if one["event"] == "up.left_out"} >= {"broker", "processors-2", "forward-1"}
    assert told[-1]["event"] == "up.stopped"


def test_a_configuration_that_is_broken_later_stops_nobody_and_mended_brings_back_who_died(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with tradewind_up(site, "--only", "ingest") as up:
        up.wait_for("all are ready after")
        text = site.config.read_text()
        site.config.write_text(text.replace("username", "user_name"))
        os.kill(up.pids()["ingest"], signal.SIGKILL)
        up.wait_for(r"ingest died \(exit code 2\): .*tradewind\.toml:\d+: .*did you mean username")
        site.config.write_text(text)
        up.wait_for("ingest died .*, ready after")
        up.process.send_signal(signal.SIGINT)
        assert up.finish() == 0


def test_a_second_signal_kills_what_still_drains(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with tradewind_up(site, "--only", "ingest") as up:
        up.wait_for("all are ready after")
        pid = up.pids()["ingest"]
        os.kill(pid, signal.SIGSTOP)  # it will never finish
        up.process.send_signal(signal.SIGINT)
        up.wait_for("stopping: ")
        up.process.send_signal(signal.SIGTERM)
        assert up.finish(deadline_s=20) == 1
    assert "ingest had to be killed" in up.screen
    assert not alive(pid)


def test_a_reader_who_has_gone_and_a_lost_terminal_are_no_failures(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with tradewind_up(site, "--only", "ingest") as up:
        up.wait_for("all are ready after")
        up.hang_up()
        ready = f"http://127.0.0.1:{site.port['ops']}/readyz"
        for _ in range(2):
            (pid,) = up.children()
            os.kill(pid, signal.SIGKILL)  # so that there is something to say
            until(partial(is_gone_from, up, pid))
            until(lambda: answers_2xx(ready))
        up.process.send_signal(signal.SIGHUP)
        up.process.send_signal(signal.SIGHUP)
        assert up.process.wait(60) == 0


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (("username", "user_name"), (), "did you mean username"),
        (("", ""), ("--only", "mirrow"), "there is no 'mirrow' to start; did you mean mirror"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, change: tuple[str, str], options: tuple[str, ...], told: str
) -> None:
    site = Site(tmp_path)
    site.config.write_text(site.config.read_text().replace(*change))
    with tradewind_up(site, *options) as up:
        assert up.finish() == 2
    assert up.screen.startswith("tradewind: ")
    assert told in up.screen
    assert "Traceback" not in up.screen


def test_a_port_that_is_taken_is_told_before_anything_is_started(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = site.port["command"]
    with socket.create_server(("127.0.0.1", port)), tradewind_up(site) as up:
        assert up.finish() == 2
    look = f"`ss -ltnp sport = :{port}` shows by whom; else set sinks.command.ops_port"
    told = f"command-1 cannot listen on 127.0.0.1:{port}: Address already in use; {look}"
    assert up.screen == f"tradewind: {told}\n"
    assert not (site.folder / "kafka").exists()
