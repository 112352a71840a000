"""The workers under test: real processes of the product, started again whenever they end, every end on record."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.broker_config import HOST, free_port
from runtime.parent_death import tied
from runtime.probe import is_ready
from runtime.settings import KafkaSettings
from schemas.pipeline import PipelineTimes

SESSION_TIMEOUT_S = 6
READY_DEADLINE_S = 20.0
STOP_DEADLINE_S = 15.0
PAUSE_S = 1.0
POLL_S = 0.1
CONFIG = """\
[kafka]
bootstrap_servers = "{servers}"
replication_factor = {copies}
[pipeline]
horizon_s = {times.horizon_s}
memory_s = {times.memory_s}
max_ceiling_s = {times.max_ceiling_s}
[processors]
session_timeout_s = {session}
[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ env = "CHAOS_SECRET" }}
"""
ACCOUNT = """\
[accounts.{name}]
username = "nobody"
password = {{ env = "CHAOS_SECRET" }}
hook_secret = {{ env = "CHAOS_SECRET" }}
"""


def write_config(path: Path, kafka: KafkaSettings, times: PipelineTimes, accounts: Sequence[str]) -> None:
    """Write the configuration that every worker is started with."""
    text = CONFIG.format(
        servers=kafka.bootstrap_servers, copies=kafka.replication_factor, times=times, session=SESSION_TIMEOUT_S
    )
    path.write_text(text + "".join(ACCOUNT.format(name=name) for name in accounts), "utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a worker; `code` is minus the signal for one that was killed."""

    at_s: float
    name: str
    code: int
    asked: bool
    """Whether the harness had signalled this process."""
    last_line: str


@dataclass(slots=True, kw_only=True)
class Worker:
    """A name under which one process after the other runs."""

    name: str
    log: Path
    ops_port: int
    process: asyncio.subprocess.Process | None = None
    asked: bool = False
    retired: bool = False
    keeper: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class Workers:
    """Keeps workers running for the length of an `async with` block; leaving it kills what is left of them."""

    folder: Path
    config: Path
    began: float
    exits: list[Exit] = field(default_factory=list)
    _by_name: dict[str, Worker] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keepers = [worker.keeper for worker in self._by_name.values() if worker.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    def names(self) -> list[str]:
        """The workers that are kept running."""
        return [name for name, worker in self._by_name.items() if not worker.retired]

    def unexpected(self) -> list[Exit]:
        """The ends that nobody asked for, and those after a SIGTERM that were not in order."""
        # -SIGTERM: it had not come as far as handling signals.
        in_order = (0, -signal.SIGKILL, -signal.SIGTERM)
        return [end for end in self.exits if not end.asked or end.code not in in_order]

    def start(self, name: str) -> None:
        """Keep a worker of that name running from now on."""
        worker = Worker(name=name, log=self.folder / f"{name}.log", ops_port=free_port())
        self._by_name[name] = worker
        worker.keeper = asyncio.create_task(self._keep(worker), name=f"keep {name}")

    async def ready(self, name: str) -> float | None:
        """Wait until the worker says that it is ready; gives the seconds it took, None if it took too long."""
        began = time.monotonic()
        url = f"http://{HOST}:{self._by_name[name].ops_port}/readyz"
        while not await is_ready(url):
            if time.monotonic() - began > READY_DEADLINE_S:
                return None
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    def send(self, name: str, signum: signal.Signals) -> asyncio.subprocess.Process | None:
        """Signal the worker's process of now; gives it, or None where it has just ended."""
        worker = self._by_name[name]
        process = worker.process
        if process is None or process.returncode is not None:
            return None
        if signum not in (signal.SIGSTOP, signal.SIGCONT):
            worker.asked = True
        with suppress(ProcessLookupError):
            process.send_signal(signum)
        return process

    async def end(self, name: str, signum: signal.Signals) -> str:
        """Signal the worker and wait for the end of that process; says how it ended."""
        process = self.send(name, signum)
        if process is None:
            return f"{name} was down"
        began = time.monotonic()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            self.send(name, signal.SIGABRT)  # faulthandler writes the threads' stacks into the worker's log
            await process.wait()
            return f"{name} DID NOT END within {STOP_DEADLINE_S:g} s of {signum.name}"
        return f"{name} ended with {process.returncode} after {time.monotonic() - began:.1f} s"

    async def retire(self, name: str) -> str:
        """SIGTERM for good."""
        worker = self._by_name[name]
        worker.retired = True
        told = await self.end(name, signal.SIGTERM)
        if worker.keeper is not None:
            _, late = await asyncio.wait([worker.keeper], timeout=PAUSE_S * 2)
            if late:  # it was just starting another process
                worker.keeper.cancel()
                await asyncio.wait(late)
        return told

    async def _keep(self, worker: Worker) -> None:
        while not worker.retired:
            process = worker.process = await self._spawn(worker)
            worker.asked = False
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            at = time.monotonic() - self.began
            end = Exit(at_s=at, name=worker.name, code=code, asked=worker.asked, last_line=_last_line(worker.log))
            self.exits.append(end)
            if not worker.asked:
                await asyncio.sleep(PAUSE_S)

    async def _spawn(self, worker: Worker) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "cli.main", "processors", "--config", str(self.config)]
        command += ["--instance", worker.name, "--ops-port", str(worker.ops_port)]
        with worker.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *tied(command, signum=signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "CHAOS_SECRET": "a-secret-that-opens-nothing", "PYTHONFAULTHANDLER": "1"},
                start_new_session=True,  # a Ctrl-C in the terminal is the harness's to handle
            )


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-20_000:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "(printed nothing)"
