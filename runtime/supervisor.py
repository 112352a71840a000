"""Keep the product's processes running: start, log, restart, and drain them in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from runtime.parent_death import tied
from runtime.probe import Ready, is_ready
from runtime.process_log import OnLine, ProcessLog
from schemas.errors import SupervisorError

STEADY_S = 10.0
"""Who lived this long is not dying young."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to keep running.

    Attributes:
        name: unique; names its log file.
        argv: the command line.
        env: variables on top of the supervisor's own environment.
        ready: an http URL that answers 2xx once the process is ready, or an async function that says so; None:
            ready as soon as it runs.
        depends_on: names of processes that have to be ready before this one is started.
        stop_deadline_s: seconds between SIGTERM and SIGKILL.
        orphan_signal: what the process gets when the supervisor dies. SIGKILL by default, for nobody would be left
            to enforce a deadline.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Ready = None
    depends_on: tuple[str, ...] = ()
    stop_deadline_s: float = 10.0
    orphan_signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEvent:
    """What happened to a process; `status` of one that ended is its exit code, or minus the signal."""

    kind: Literal["started", "died", "restarted", "stopped"]
    name: str
    pid: int
    restarts: int
    status: int | None = None


@dataclass(slots=True, kw_only=True)
class _Child:
    spec: ProcessSpec
    log: ProcessLog
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    keeper: asyncio.Task[None] | None = None
    restarts: int = 0

    @property
    def pid(self) -> int | None:
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if running and self.process else None


class Supervisor:
    """Runs processes for the length of an `async with` block; leaving it stops them all.

    Use it from the main thread: on Linux a child dies with the thread that started it. Each child leads a session
    of its own, so a Ctrl-C in the terminal reaches the supervisor alone.

    Args:
        log_dir: gets one `<name>.log` per process, with its stdout and stderr.
        on_event: told of every start, death, restart and stop; of a death after the last lines that it printed.
        on_line: told of every line that a process prints: its name, and the line without its end.
    """

    def __init__(
        self,
        *,
        log_dir: Path,
        on_event: Callable[[ProcessEvent], None] = lambda _: None,
        on_line: OnLine | None = None,
    ) -> None:
        self._log_dir = log_dir
        self._on_event = on_event
        self._on_line = on_line
        self._children: dict[str, _Child] = {}  # in the order of their start
        self._killing = False

    async def __aenter__(self) -> Self:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for name in reversed(list(self._children)):
                await self.stop(name)
        finally:  # also when a second Ctrl-C cuts the draining short
            for child in self._children.values():
                _kill_group(child)

    async def start(self, spec: ProcessSpec, *, dependencies_deadline_s: float = 60.0) -> None:
        """Start a process, once those that it depends on are ready, and keep it running.

        Raises:
            SupervisorError: the name is taken, a dependency is unknown, or one is not ready in time.
        """
        if spec.name in self._children:
            raise SupervisorError(f"there is a process {spec.name} already")
        for name in spec.depends_on:
            await self.wait_ready(name, deadline_s=dependencies_deadline_s)
        log = ProcessLog(self._log_dir / f"{spec.name}.log", name=spec.name, on_line=self._on_line)
        child = _Child(spec=spec, log=log)
        await self._spawn(child)
        self._children[spec.name] = child
        self._tell("started", child)
        child.keeper = asyncio.create_task(self._keep(child), name=f"keep {spec.name}")

    async def wait_ready(self, name: str, *, deadline_s: float) -> None:
        """Wait until a process says that it is ready.

        Raises:
            SupervisorError: it is unknown, or was not ready in time: with the last lines of its log.
        """
        child = self._child(name)
        end = time.monotonic() + deadline_s
        while not await self.is_ready(name):
            if child.keeper is not None and child.keeper.done():
                raise SupervisorError(f"{name} was stopped before it was ready")
            if time.monotonic() > end:
                told = f"{name} is not ready after {deadline_s:g} s (restarted {child.restarts} times)"
                raise SupervisorError(f"{told}; {child.log.path} ends with:\n{child.log.tail()}")
            await asyncio.sleep(_POLL_S)

    async def is_ready(self, name: str) -> bool:
        """Ask a process once whether it runs and is ready; no answer within 1 s is a no."""
        child = self._child(name)
        return child.pid is not None and await is_ready(child.spec.ready)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all processes, in the order of their start; those that were stopped, too."""
        return tuple(self._children)

    def pid(self, name: str) -> int | None:
        """Give the process id, or None while it is not running."""
        return self._child(name).pid

    def restarts(self, name: str) -> int:
        """Count how often the process was started again after it died."""
        return self._child(name).restarts

    async def stop(self, name: str) -> None:
        """Stop a process for good: SIGTERM, and SIGKILL to it and its children when the deadline passes."""
        child = self._child(name)
        child.stopping.set()
        _terminate(child)
        if child.keeper is not None:
            await asyncio.wait([child.keeper], timeout=child.spec.stop_deadline_s)
            _kill_group(child)
            await child.keeper

    def kill(self) -> None:
        """End all at once and for good: SIGKILL to each and its children. Leaving the block then waits for nobody."""
        self._killing = True
        for child in self._children.values():
            child.stopping.set()
            _kill_group(child)

    def _child(self, name: str) -> _Child:
        if name not in self._children:
            raise SupervisorError(f"there is no process {name}")
        return self._children[name]

    async def _spawn(self, child: _Child) -> None:
        output = await child.log.open_pipe()
        try:
            child.process = await asyncio.create_subprocess_exec(
                *tied(child.spec.argv, signum=child.spec.orphan_signal),
                env={**os.environ, **child.spec.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)

    async def _keep(self, child: _Child) -> None:
        """Wait for the process and start it again, until it is to stop.

        The first restart is immediate. One that keeps dying young waits 0.1 s, 0.2 s, ... up to 5 s.
        """
        young = 0
        while child.process is not None:
            born = time.monotonic()
            status = await child.process.wait()
            if child.stopping.is_set():
                break
            await child.log.settle()
            self._tell("died", child, status)
            young = 0 if time.monotonic() - born >= STEADY_S else young
            pause = min(_FIRST_PAUSE_S * 2 ** (young - 1), _LONGEST_PAUSE_S) if young else 0
            young += 1
            await self._start_again(child, pause)
            if child.stopping.is_set() and child.pid is not None:  # stop() came while it was being started
                _kill_group(child) if self._killing else _terminate(child)
        await child.log.close()
        self._tell("stopped", child, child.process.returncode if child.process else None)

    async def _start_again(self, child: _Child, pause_s: float) -> None:
        while not await _set_within(child.stopping, pause_s):
            try:
                await self._spawn(child)
            except OSError as error:  # no memory or no room for a process, for now
                child.log.note(f"cannot start: {error}")
                pause_s = _LONGEST_PAUSE_S
            else:
                child.restarts += 1
                self._tell("restarted", child)
                return

    def _tell(
        self, kind: Literal["started", "died", "restarted", "stopped"], child: _Child, status: int | None = None
    ) -> None:
        pid = child.process.pid if child.process else 0
        self._on_event(ProcessEvent(kind=kind, name=child.spec.name, pid=pid, restarts=child.restarts, status=status))


def _terminate(child: _Child) -> None:
    """Send SIGTERM; not by `Process.terminate`, which may reap a child that has just ended, and its status is lost."""
    if child.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)


def _kill_group(child: _Child) -> None:
    """Kill a process and what it started; only while it is not reaped, for then its number is still its own."""
    pid = child.pid
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
