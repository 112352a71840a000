"""What the test asks of Docker and of Compose: 2, or 1.29."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMPOSE_IMAGES = {
    "python": "TRADEWIND_PYTHON_IMAGE",
    "kafka": "TRADEWIND_KAFKA_IMAGE",
    "postgres": "TRADEWIND_POSTGRES_IMAGE",
    "prometheus": "TRADEWIND_PROMETHEUS_IMAGE",
}
"""The variables of docker-compose.yml that name the base images."""
_POLL_S = 0.5


def say(text: str) -> None:
    """A step, for people."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run docker; SystemExit with what it said if it fails and `check` is set."""
    return _run(["docker", *arguments], {}, check=check)


def _run(command: list[str], env: Mapping[str, str], *, check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, errors="replace", check=False
    )
    if check and done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
    return done


def wait_until(what: str, condition: Callable[[], bool], deadline_s: float) -> float:
    """Ask until it holds; SystemExit after the deadline. Returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > deadline_s:
            raise SystemExit(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(_POLL_S)
    return time.monotonic() - began


class Project:
    """One run of docker-compose.yml under a project name of its own."""

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self.name = name
        self._env = {"COMPOSE_PROJECT_NAME": name, **env}
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        self._program = ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Compose on the project."""
        return _run([*self._program, *arguments], self._env, check=check)

    def popen(self, *arguments: str, out: Path) -> subprocess.Popen[bytes]:
        """Start Compose in the background; what it prints goes into a file."""
        with out.open("wb") as file:
            return subprocess.Popen(
                [*self._program, *arguments],
                cwd=ROOT,
                env={**os.environ, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What `docker inspect` says of the service's containers, in the order of their names."""
        ids = self.compose("ps", "-a", "-q", service).stdout.split()
        if not ids:
            return []
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids).stdout)
        return sorted(found, key=lambda container: str(container["Name"]))

    def healthy(self, service: str, count: int) -> bool:
        """Whether so many containers of the service run and are healthy, and no other is there."""
        states = [container["State"] for container in self.containers(service)]
        return len(states) == count and all(
            state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy" for state in states
        )
