"""The sinks under test: processes of the product, started again whenever they end, every end on record."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from runtime.broker_config import HOST, free_port
from runtime.parent_death import tied
from runtime.probe import is_ready

READY_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
PAUSE_S = 1.0
POLL_S = 0.05
JITTER = 0.1
"""How far a kill may be off its time, as a share of it, so that the processes do not fall into step."""
Say = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Process:
    """A name under which one process after the other runs."""

    name: str
    command: Sequence[str]
    """What follows `tradewind`."""
    log: Path
    ops_port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None
    asked: bool = False
    retired: bool = False
    kills: int = 0
    spawned: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class Sinks:
    """Keeps sinks running for the length of an `async with` block; leaving it kills what is left of them."""

    folder: Path
    config: Path
    say: Say
    problems: list[str] = field(default_factory=list)
    by_name: dict[str, Process] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keepers = [one.keeper for one in self.by_name.values() if one.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(one.kills for one in self.by_name.values())

    def start(self, name: str, *command: str) -> None:
        """Keep a process of that name running from now on."""
        one = self.by_name[name] = Process(name=name, command=command, log=self.folder / f"{name}.log")
        one.keeper = asyncio.create_task(self._keep(one), name=f"keep {name}")

    async def ready(self, name: str) -> bool:
        """Wait until the process answers /readyz with 200; that it does not is a problem."""
        began = time.monotonic()
        while not await is_ready(f"http://{HOST}:{self.by_name[name].ops_port}/readyz"):
            if time.monotonic() - began > READY_DEADLINE_S:
                self.problems.append(f"{name} was not ready within {READY_DEADLINE_S:g} s of its start")
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def harry(self, name: str, *, after_s: float, rng: Random, until: asyncio.Event) -> None:
        """Kill the process about so many seconds after each time it is ready: once, and on until the event is set."""
        one, began = self.by_name[name], time.monotonic()
        while await self.ready(name):
            with suppress(TimeoutError):
                async with asyncio.timeout(after_s * rng.uniform(1 - JITTER, 1 + JITTER)):
                    await (until.wait() if one.kills else asyncio.Event().wait())
            if until.is_set() and one.kills:
                return
            process = one.process
            if process is None or process.returncode is not None:
                continue  # it has just ended by itself, which is on record
            one.asked = True
            one.spawned.clear()
            process.kill()
            one.kills += 1
            self.say(f"{name} killed, {time.monotonic() - began:.1f} s into the run")
            await one.spawned.wait()  # or /readyz of the last one would be asked

    async def retire(self, name: str) -> None:
        """SIGTERM for good; that it does not end in order is a problem."""
        one = self.by_name[name]
        one.retired = one.asked = True
        process = one.process
        if process is None or process.returncode is not None:
            self.problems.append(f"{name} was down at the end")
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                code = await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGABRT)  # faulthandler writes the threads' stacks into the log
            await process.wait()
            self.problems.append(f"{name} did not end within {STOP_DEADLINE_S:g} s of SIGTERM")
            return
        if code:
            self.problems.append(f"{name} ended with {code} after SIGTERM")

    async def _keep(self, one: Process) -> None:
        while not one.retired:
            process = one.process = await self._spawn(one)
            one.asked = False
            one.spawned.set()
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if not one.asked:
                self.problems.append(f"{one.name} ended by itself with {code}: {_last_line(one.log)}")
                await asyncio.sleep(PAUSE_S)

    async def _spawn(self, one: Process) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "cli.main", *one.command, "--config", str(self.config)]
        command += ["--instance", one.name, "--ops-port", str(one.ops_port)]
        with one.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *tied(command, signum=signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
                start_new_session=True,  # a Ctrl-C in the terminal is the harness's to handle
            )


async def unlock(config: Path, account: str) -> str | None:
    """`tradewind session unlock`; gives what went wrong."""
    command = [sys.executable, "-m", "cli.main", "session", "unlock", account, "--config", str(config)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    told = output.decode("utf-8", "replace").strip()
    return None if process.returncode == 0 and "allowed again" in told else f"unlock {account}: {told}"


def _last_line(path: Path) -> str:
    lines = path.read_bytes()[-20_000:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:600] if lines else "(printed nothing)"
