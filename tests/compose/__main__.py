"""Runs docker-compose.yml on a real Docker Engine: `make compose-test`; ten minutes, and a few gigabytes of disk.

The profile `demo` is brought up from nothing, and an office day passes. Then further days pass while each service in
turn is killed (by `docker kill`, and by a crash that the restart policy has to mend), Kafka is restarted, and the
processors are scaled to three and back. Every day ends with the ledger's "lost 0", the audit has to find every byte in
its place, and everything has to drain when it is stopped. Everything that was started is removed again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runtime.broker_config import free_port
from tests.compose.engine import ROOT, Project, docker, say
from tests.compose.images import make_local_images
from tests.compose.rounds import (
    check_confinement,
    check_prometheus,
    first_day,
    performed_command,
    stop_all,
    troubled_days,
)

PULL_S = 120


def main() -> None:
    """Exit code 0 if all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--local-images", action="store_true", help="make the base images here, do not try to pull")
    parser.add_argument("--no-testcontainers", action="store_true", help="leave the tests on testcontainers out")
    chosen = parser.parse_args()
    if docker("version", check=False).returncode != 0:
        raise SystemExit("no Docker Engine answers: start one (dockerd), or set DOCKER_HOST")
    env = _images(local=chosen.local_images)
    with tempfile.TemporaryDirectory(prefix="tradewind-compose-") as folder:
        _compose(env, Path(folder))
    if not chosen.no_testcontainers:
        _testcontainers(env)
    say("all held")


def _images(*, local: bool) -> dict[str, str]:
    """The variables for docker-compose.yml: none where the public images can be pulled."""
    if not local and _pulled("python:3.11.14-slim-bookworm"):
        return {}
    say("the public images cannot be had: taking local ones")
    subprocess.run(["make", "--no-print-directory", "wheelhouse"], cwd=ROOT, check=True)
    return {**make_local_images(), "TRADEWIND_PIP_NO_INDEX": "1"}


def _pulled(image: str) -> bool:
    try:
        command = ["docker", "pull", "--quiet", image]
        return subprocess.run(command, capture_output=True, timeout=PULL_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _compose(images: dict[str, str], folder: Path) -> None:
    env = {
        **images,
        "COMPOSE_PROFILES": "demo",
        "TRADEWIND_TOML": "./deploy/demo/tradewind.toml",
        "TRADEWIND_SECRETS": str(folder / "secrets"),
        "TRADEWIND_LISTEN": f"127.0.0.1:{free_port()}",
        "TRADEWIND_PROMETHEUS_LISTEN": f"127.0.0.1:{free_port()}",
    }
    subprocess.run(
        [ROOT / "deploy" / "make-secrets.sh", "--demo", folder / "secrets"], check=True, stdout=subprocess.DEVNULL
    )
    project = Project(f"tradewind-test-{os.getpid()}", env)
    began = time.monotonic()
    try:
        say("building the image")
        project.compose("build")
        say(f"built after {time.monotonic() - began:.0f} s")
        first_day(project)
        check_confinement(project)
        check_prometheus(project, env["TRADEWIND_PROMETHEUS_LISTEN"])
        performed_command(project)
        troubled_days(project, folder)
        stop_all(project)
    except BaseException:
        log = ROOT / ".tradewind" / "compose-test.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(project.compose("logs", "--no-color", "--timestamps", check=False).stdout)
        say(f"failed; the containers' logs: {log.relative_to(ROOT)}")
        raise
    finally:
        project.compose("down", "--volumes", "--remove-orphans", "--timeout", "10", check=False)


def _testcontainers(images: dict[str, str]) -> None:
    say("the tests marked `containers`, on testcontainers")
    env = {**os.environ, **images, "TRADEWIND_TEST_BACKEND": "containers", "TESTCONTAINERS_RYUK_DISABLED": "true"}
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "containers", "tests"], cwd=ROOT, env=env, check=True)


if __name__ == "__main__":
    main()
