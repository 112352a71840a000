"""What is done to the running project, and what has to hold after each step."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.compose.engine import Project, docker, say, wait_until

OURS = ("ingest", "processors", "sink-mirror", "sink-command", "sink-forward")
PROCESSORS = 2
SERVICES = {"kafka": 1, "postgres": 1, "prometheus": 1, **dict.fromkeys(OURS, 1), "processors": PROCESSORS}
"""What stays up, and in how many containers."""
UP = "sum by (service) (up)"
UP_S = 300.0
HEALTHY_S = 180.0
DAY_S = 600.0
DAY = ("--notifications", "600", "--duration-s", "40")


def first_day(project: Project) -> None:
    """From nothing to the first ledger, by one command."""
    say("docker compose up")
    began = time.monotonic()
    project.compose("up", "--detach")
    for service, count in SERVICES.items():
        wait_until(f"{service} is healthy", lambda s=service, n=count: project.healthy(s, n), UP_S)  # type: ignore[misc]
    say(f"all healthy after {time.monotonic() - began:.0f} s")

    def over() -> bool:
        return any(container["State"]["Status"] == "exited" for container in project.containers("day"))

    wait_until("the first day is over", over, DAY_S)
    _show(project.compose("logs", "--no-color", "day").stdout)
    (day,) = project.containers("day")
    _hold(day["State"]["ExitCode"] == 0, "the first day's ledger balances")


def check_confinement(project: Project) -> None:
    """What docker-compose.yml says about rights is so inside of the containers."""
    for service in OURS:
        for container in project.containers(service):
            inside = docker(
                "exec", container["Id"], "sh", "-c", "id -u; touch /opt/written; cat /proc/self/status", check=False
            )
            held = (
                inside.stdout.startswith("10001\n")
                and "Read-only file system" in inside.stderr
                and "CapEff:\t0000000000000000" in inside.stdout
                and "NoNewPrivs:\t1" in inside.stdout
            )
            _hold(
                held,
                f"{container['Name'].strip('/')} is no root, without capabilities, on a root that it cannot write",
            )


def check_prometheus(project: Project, address: str) -> None:
    """Prometheus finds every container of ours, and its rules are loaded."""

    def asked(path: str) -> Any:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def all_up() -> bool:
        found = {
            one["metric"]["service"]: float(one["value"][1]) for one in asked(f"query?query={quote(UP)}")["result"]
        }
        return found == {service: float(SERVICES[service]) for service in OURS}

    took_s = wait_until("Prometheus reads every container of ours", all_up, UP_S)
    rules = [rule for group in asked("rules")["groups"] for rule in group["rules"]]
    _hold(bool(rules) and all(rule["health"] == "ok" for rule in rules), f"Prometheus evaluates {len(rules)} rules")
    say(f"  ok: Prometheus reads every container of ours (after {took_s:.0f} s)")
    _hold(project.healthy("prometheus", 1), "Prometheus is healthy")


def performed_command(project: Project) -> None:
    """A command goes through sink-command to ServiceTrade, and its result can be looked up."""
    body = '{"name": "From the compose test"}'
    order = ("--account", "main", "--method", "POST", "--type", "company", "--body", body)
    sent = project.compose("exec", "-T", "sink-command", "tradewind", "command", "send", *order, check=False)
    _show(sent.stdout + sent.stderr)
    _hold(sent.returncode == 0, "a command is performed")


def troubled_days(project: Project, folder: Path) -> None:
    """Days pass while everything is killed in turn; every ledger balances, and the audit agrees."""
    troubles: list[tuple[str, Callable[[], None]]] = []
    for service in SERVICES:
        troubles += [
            (f"docker kill {service}", lambda s=service: _kill(project, s)),  # type: ignore[misc]
            (f"a crash of {service}", lambda s=service: _crash(project, s)),  # type: ignore[misc]
        ]
    troubles += [
        ("a restart of Kafka", lambda: _restart_kafka(project)),
        ("three processors", lambda: _scale(project, PROCESSORS + 1)),
        ("two again", lambda: _scale(project, PROCESSORS)),
    ]
    days = 0
    while troubles:
        days += 1
        out = folder / f"day-{days}.log"
        name = f"{project.name}-day-{days}"
        day = project.popen("run", "--rm", "--no-deps", "-T", "--name", name, "day", "demo-day", *DAY, out=out)
        wait_until("the day begins", lambda out=out: "the day begins" in out.read_text("utf-8"), UP_S)  # type: ignore[misc]
        while troubles and day.poll() is None:
            what, trouble = troubles.pop(0)
            began = time.monotonic()
            trouble()
            say(f"  {what}: all healthy again after {time.monotonic() - began:.0f} s")
        wait_until("the day is over", lambda day=day: day.poll() is not None, DAY_S)  # type: ignore[misc]
        _show(out.read_text("utf-8"))
        _hold(day.returncode == 0, f"the ledger of troubled day {days} balances")
    audited = project.compose("exec", "-T", "processors", "tradewind", "audit", check=False)
    _show(audited.stdout)
    _hold(audited.returncode == 0, "the audit agrees, byte by byte")


def stop_all(project: Project) -> None:
    """SIGTERM drains every process of ours within its time."""
    project.compose("stop", *OURS)
    for service in OURS:
        for container in project.containers(service):
            _hold(container["State"]["ExitCode"] == 0, f"{service} drains and ends with 0")


def _kill(project: Project, service: str) -> None:
    """As an operator does: `docker kill`, which Docker does not take for a crash, and `docker start`."""
    victim = project.containers(service)[0]["Id"]
    docker("kill", victim)
    time.sleep(2)  # what is being sent to it meanwhile has to find its way
    docker("start", victim)
    _wait_healthy(project)


def _crash(project: Project, service: str) -> None:
    """The process dies by itself; the restart policy has to bring it back."""
    before = project.containers(service)[0]
    docker(
        "run",
        "--rm",
        "--pid",
        "host",
        "--privileged",
        "--entrypoint",
        "sh",
        before["Image"],
        "-c",
        f"kill -9 {before['State']['Pid']}",
    )
    wait_until(
        f"{service} is started again",
        lambda: project.containers(service)[0]["State"]["Pid"] not in (0, before["State"]["Pid"]),
        HEALTHY_S,
    )
    _wait_healthy(project)


def _restart_kafka(project: Project) -> None:
    project.compose("restart", "kafka")
    _wait_healthy(project)


def _scale(project: Project, count: int) -> None:
    project.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", f"processors={count}", "processors")
    _wait_healthy(project, processors=count)


def _wait_healthy(project: Project, *, processors: int = PROCESSORS) -> None:
    for service, count in {**SERVICES, "processors": processors}.items():
        wait_until(f"{service} is healthy", lambda s=service, n=count: project.healthy(s, n), HEALTHY_S)  # type: ignore[misc]


def _show(text: str) -> None:
    for line in text.rstrip().splitlines():
        if "─  webhooks " not in line and "━  webhooks " not in line:  # how far a day is
            say(f"    {line}")


def _hold(held: bool, what: str) -> None:
    if not held:
        raise SystemExit(f"does not hold: {what}")
    say(f"  ok: {what}")
