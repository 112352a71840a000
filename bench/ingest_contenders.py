"""Who takes part in the ingest section, and how each is started."""

from __future__ import annotations

import json
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.environment import PEERS, ROOT
from bench.ingest_load import secrets
from bench.stage import Child, Stage, child
from runtime.broker_config import free_port
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings
from schemas.topics import WEBHOOKS

START_S = 60.0
UNUSED_ENV = "BENCH_SECRET"
"""The environment variable of the secrets that a receiver does not need."""
_POLL_S = 0.05
_HOST = "127.0.0.1"

_CONFIG = """
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ env = "BENCH_SECRET" }}
[ingest]
port = {port}
ops_port = {ops_port}
[ingest.spool]
folder = "{spool}"
"""
_ACCOUNT = """[accounts.{name}]
username = "u"
password = {{ env = "BENCH_SECRET" }}
hook_secret = {{ file = "{file}" }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all runs have in common."""

    stage: Stage
    requests: Path
    """What wrk sends."""
    spools: Path
    """Of ours; on the disk of the checkout: a temporary folder may be in memory, where fsync costs nothing."""
    python: Path
    """Of the environment that has the peers' libraries."""
    go: Path | None
    """The built program; None where Go is not at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one contender: a topic, ports and a name of its own."""

    setting: Setting
    label: str
    port: int
    ops_port: int

    @classmethod
    def new(cls, setting: Setting, label: str) -> Run:
        """A run with ports that are free."""
        port = free_port()
        return cls(setting=setting, label=label, port=port, ops_port=free_port({port}))

    @property
    def folder(self) -> Path:
        """Where its files go."""
        return self.setting.stage.folder

    @property
    def kafka(self) -> KafkaSettings:
        """Settings for its own raw log."""
        return self.setting.stage.kafka(f"{self.label}.")

    @property
    def topic(self) -> str:
        """Full name of its raw log."""
        return full_name(self.kafka, WEBHOOKS)

    @property
    def log(self) -> Path:
        """Where the contender's output goes."""
        return self.folder / f"{self.label}.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of those that are measured side by side."""

    name: str
    title: str
    start: Callable[[Run], AbstractContextManager[Child]]
    is_ready: Callable[[Run], bool]
    stores: bool = True
    """Whether what it accepts has to be in the topic."""
    is_there: Callable[[Setting], bool] = lambda _: True


def wait_until_ready(contender: Contender, run: Run, process: Child) -> None:
    """Return once it takes requests.

    Raises:
        RuntimeError: it ended, or takes too long.
    """
    deadline = time.monotonic() + START_S
    while not contender.is_ready(run):
        if not process.running or time.monotonic() > deadline:
            raise RuntimeError(f"{contender.name} does not start: {run.log.read_text(errors='replace')[-2000:]}")
        time.sleep(_POLL_S)


# -- ours --------------------------------------------------------------------------------------------------------------


def write_config(run: Run) -> Path:
    """The configuration of ours: what has no default, ports, the spool's folder; secrets are in files."""
    path = run.folder / f"{run.label}.toml"
    parts = [
        _CONFIG.format(
            servers=run.kafka.bootstrap_servers,
            prefix=run.kafka.topic_prefix,
            port=run.port,
            ops_port=run.ops_port,
            spool=run.setting.spools / run.label,
        )
    ]
    for name, secret in secrets().items():
        file = run.folder / f"{name}.secret"
        file.write_text(secret)
        parts.append(_ACCOUNT.format(name=name, file=file))
    path.write_text("".join(parts))
    return path


def _start_ours(run: Run) -> AbstractContextManager[Child]:
    command = [sys.executable, "-m", "cli.main", "ingest", "--config", str(write_config(run))]
    return child(command, run.log, env={UNUSED_ENV: "of-no-use-in-this-measurement"})


def _our_readiness(run: Run) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{run.ops_port}/readyz", timeout=5) as answer:
            # It is ready without Kafka too, then with its spool; this load is to find both.
            return all(json.load(answer).values())
    except (urllib.error.URLError, OSError):  # not listening yet, or 503
        return False


# -- peers -------------------------------------------------------------------------------------------------------------


def _listens(run: Run) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, run.port)) == 0


def _told(run: Run) -> list[str]:
    accounts = run.folder / "accounts.json"
    accounts.write_text(json.dumps(secrets()))
    given = {
        "servers": run.setting.stage.bootstrap_servers,
        "topic": run.topic,
        "accounts": str(accounts),
        "port": str(run.port),
    }
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def _start_fastapi(run: Run) -> AbstractContextManager[Child]:
    return child([str(run.setting.python), str(PEERS / "fastapi_ingest.py"), *_told(run)], run.log)


def _start_empty(run: Run) -> AbstractContextManager[Child]:
    command = [sys.executable, "-m", "bench.ingest_empty", "--port", str(run.port)]
    return child(command, run.log, env={"PYTHONPATH": str(ROOT)})


def _start_go(run: Run) -> AbstractContextManager[Child]:
    return child([str(run.setting.go), *_told(run)], run.log)


OURS = Contender(name="ours", title="**tradewind**", start=_start_ours, is_ready=_our_readiness)
FASTAPI = Contender(name="fastapi", title="FastAPI + aiokafka", start=_start_fastapi, is_ready=_listens)
EMPTY = Contender(name="empty", title="empty, no Kafka", start=_start_empty, is_ready=_listens, stores=False)
GO = Contender(
    name="go",
    title="Go + franz-go",
    start=_start_go,
    is_ready=_listens,
    is_there=lambda setting: setting.go is not None,
)
CONTENDERS = (OURS, FASTAPI, EMPTY, GO)
