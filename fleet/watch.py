"""Follows the deaths of supervised processes, until they are ready again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.supervisor import STEADY_S, ProcessEvent, Supervisor

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process ended by itself."""

    name: str
    status: int
    """Exit code, or minus the signal."""
    in_a_row: int
    """How many times now it died soon after its start; 1: it had run well, or was started for the first time."""
    at_first: bool
    """Whether this was its first life, and a short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """A process that died is ready again; times are seconds since it died first."""

    name: str
    pid: int
    status: int
    """How it died last."""
    deaths: int
    restarted_after_s: float
    ready_after_s: float


@dataclass(slots=True)
class _Outage:
    began: float
    status: int
    deaths: int = 0
    restarted: float = 0.0


class Watch:
    """Is told a supervisor's events, and tells what they mean. Give it the supervisor before the first process starts.

    Args:
        on_death: told of each death.
        on_return: told once a process that died is ready again.
    """

    supervisor: Supervisor

    def __init__(self, *, on_death: Callable[[Death], None], on_return: Callable[[Return], None]) -> None:
        self._on_death = on_death
        self._on_return = on_return
        self._born: dict[str, float] = {}
        self._in_a_row: dict[str, int] = {}
        self._outages: dict[str, _Outage] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self.ended: dict[str, int] = {}
        """How each process ended that is stopped for good: exit code, or minus the signal."""

    def __call__(self, event: ProcessEvent) -> None:
        """Something happened to a process."""
        now, name, status = time.monotonic(), event.name, event.status or 0
        if event.kind == "stopped":
            self.ended[name] = status
        elif event.kind == "died":
            steady = now - self._born[name] >= STEADY_S
            self._in_a_row[name] = 1 if steady else self._in_a_row.get(name, 0) + 1
            outage = self._outages.setdefault(name, _Outage(now, status))
            outage.status, outage.deaths = status, outage.deaths + 1
            at_first = event.restarts == 0 and not steady
            self._on_death(Death(name=name, status=status, in_a_row=self._in_a_row[name], at_first=at_first))
        else:
            self._born[name] = now
            if event.kind == "restarted":
                self._outages[name].restarted = now
                task = asyncio.create_task(self._until_ready(name, event.pid))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    def cancel(self) -> None:
        """Wait for nobody any more: everything is going to be stopped."""
        for task in self._waiting:
            task.cancel()

    async def _until_ready(self, name: str, pid: int) -> None:
        while not await self.supervisor.is_ready(name):
            if self.supervisor.pid(name) != pid:  # it died again
                return
            await asyncio.sleep(_POLL_S)
        if self.supervisor.pid(name) != pid or (outage := self._outages.pop(name, None)) is None:
            return
        self._on_return(
            Return(
                name=name,
                pid=pid,
                status=outage.status,
                deaths=outage.deaths,
                restarted_after_s=outage.restarted - outage.began,
                ready_after_s=time.monotonic() - outage.began,
            )
        )
