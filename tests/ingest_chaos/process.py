"""The ingest under test: one process of the product after the other, every end on record, its counters summed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runtime.broker_config import free_port
from runtime.parent_death import tied
from runtime.settings import KafkaSettings
from tests.ingest_chaos.client import get

SECRETS = {"CHAOS_HOOK": "hook-b81f0c44e2d97a63", "CHAOS_PASSWORD": "password-5f1c9d", "CHAOS_KEY": "key-77ab03e1"}
STOP_DEADLINE_S = 25.0
READ_S = 0.25
PAUSE_S = 0.5
POLL_S = 0.05
_SAMPLE = re.compile(r"^(tradewind_[a-z_]+)(?:\{([^}]*)\})? ([0-9.e+-]+)$", re.MULTILINE)
_OUTCOME = re.compile(r'outcome="([a-z_]+)"')
CONFIG = """\
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ env = "CHAOS_KEY" }}
[ingest]
port = {port}
ops_port = {ops_port}
ack_timeout_s = {ack_timeout_s}
[ingest.spool]
folder = "{folder}"
max_bytes = {max_bytes}
"""
ACCOUNT = """\
[accounts.{name}]
username = "nobody"
password = {{ env = "CHAOS_PASSWORD" }}
hook_secret = {{ env = "CHAOS_HOOK" }}
"""


def path_of(account: str) -> str:
    """Where ServiceTrade posts an account's webhooks."""
    return f"/webhooks/{account}/{SECRETS['CHAOS_HOOK']}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How ingest is configured."""

    kafka: KafkaSettings
    accounts: Sequence[str]
    spool: Path
    ack_timeout_s: float
    max_bytes: int


@dataclass(slots=True, kw_only=True)
class Ingest:
    """Keeps ingest running for the length of an `async with` block; leaving it kills what is left."""

    folder: Path
    setup: Setup
    port: int = field(default_factory=free_port)
    ops_port: int = field(default_factory=free_port)
    crashes: list[int] = field(default_factory=list)
    """Exit codes of ends that nobody asked for."""
    ends: int = 0
    """How often the harness ended a process."""
    gauges: dict[str, float] = field(default_factory=dict)
    """As last read."""
    _counters: dict[str, float] = field(default_factory=dict)
    _earlier: dict[str, float] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None
    _asked: bool = False
    _retired: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What the processes wrote to stdout and stderr."""
        return self.folder / "ingest.log"

    async def __aenter__(self) -> Self:
        setup = self.setup
        text = CONFIG.format(
            servers=setup.kafka.bootstrap_servers,
            prefix=setup.kafka.topic_prefix,
            port=self.port,
            ops_port=self.ops_port,
            ack_timeout_s=setup.ack_timeout_s,
            folder=setup.spool,
            max_bytes=setup.max_bytes,
        )
        config = self.folder / "tradewind.toml"
        config.write_text(text + "".join(ACCOUNT.format(name=name) for name in setup.accounts), "utf-8")
        self._tasks = [asyncio.create_task(self._keep(config)), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def starts(self) -> int:
        """How often a process has said that it starts."""
        return self.log.read_bytes().count(b'"process.started"') if self.log.exists() else 0

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """What /readyz says: the status, 0 for no answer, and the conditions."""
        status, body = await get(self.ops_port, "/readyz")
        try:
            return status, dict(json.loads(body))
        except ValueError:
            return status, {}

    async def until_ready(self, deadline_s: float) -> float | None:
        """Wait until /readyz answers 200; gives the seconds it took, None if it took too long."""
        began = time.monotonic()
        while time.monotonic() - began < deadline_s:
            if (await self.ready())[0] == 200:
                return time.monotonic() - began
            await asyncio.sleep(POLL_S)
        return None

    def count(self, name: str) -> int:
        """A counter summed over all lives, as far as it could be read; of received webhooks, `received/OUTCOME`."""
        return int(self._earlier.get(name, 0) + self._counters.get(name, 0))

    async def read_metrics(self) -> bool:
        """Read /metrics now; tells whether it answered."""
        life = self._process
        status, body = await get(self.ops_port, "/metrics")
        if status != 200 or life is not self._process:
            return False
        counters: dict[str, float] = defaultdict(float)
        for name, labels, value in _SAMPLE.findall(body.decode("utf-8", "replace")):
            if name == "tradewind_webhooks_received_total" and (outcome := _OUTCOME.search(labels)):
                counters["received/" + outcome[1]] += float(value)
            elif name.endswith("_total"):
                counters[name] += float(value)
            elif not labels and not name.endswith("_created"):
                self.gauges[name] = float(value)
        self._counters = dict(counters)
        return True

    async def end(self, signum: signal.Signals) -> int | None:
        """Signal the process of now, and wait for its end; another one is started at once, unless it was retired.

        Gives the exit code, None where there was no process, or it had to be killed because it did not end in time.
        """
        await self.read_metrics()
        process = self._process
        if process is None or process.returncode is not None:
            return None
        self.ends += 1
        self._asked = True
        with suppress(ProcessLookupError):
            process.send_signal(signum)
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            return None

    async def retire(self) -> int | None:
        """SIGTERM for good; gives what `end` gives."""
        self._retired = True
        return await self.end(signal.SIGTERM)

    async def _keep(self, config: Path) -> None:
        command = [sys.executable, "-m", "cli.main", "ingest", "--config", str(config)]
        while not self._retired:
            with self.log.open("ab") as log:
                self._process = process = await asyncio.create_subprocess_exec(
                    *tied(command, signum=signal.SIGKILL),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **SECRETS, "PYTHONFAULTHANDLER": "1"},
                    start_new_session=True,  # a Ctrl-C in the terminal is the harness's to handle
                )
            self._asked = False
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            self._earlier = {
                name: self._earlier.get(name, 0) + self._counters.get(name, 0)
                for name in {*self._earlier, *self._counters}
            }
            self._counters, self.gauges = {}, {}
            if not self._asked:
                self.crashes.append(code)
                await asyncio.sleep(PAUSE_S)

    async def _watch(self) -> None:
        while True:
            await self.read_metrics()
            await asyncio.sleep(READ_S)
