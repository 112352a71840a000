"""The demo's processes: all that the product has, each on its own, under the supervisor."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from demo.screen import Screen
from demo.site import MIRROR, PROCESSORS, Site
from runtime.broker import PreparedBroker, answers
from runtime.supervisor import ProcessEvent, ProcessSpec, Supervisor
from schemas.errors import SupervisorError

READY_S = 60.0
DRAIN_S = 30.0
"""Above what a process takes to drain; see runtime/process.py."""

PYTHON = sys.executable


@asynccontextmanager
async def supervised(site: Site, screen: Screen) -> AsyncIterator[Supervisor]:
    """A supervisor whose processes' deaths and recoveries are shown; leaving the block stops them all."""
    watch = _Watch(screen)
    async with Supervisor(log_dir=site.folder / "logs", on_event=watch) as supervisor:
        watch.supervisor = supervisor
        try:
            yield supervisor
        finally:
            watch.cancel()


class _Watch:
    """Shows who died, and when it was of use again."""

    supervisor: Supervisor

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._waiting: set[asyncio.Task[None]] = set()
        self._died_at: dict[str, float] = {}

    def __call__(self, event: ProcessEvent) -> None:
        if event.kind == "died":
            self._died_at.setdefault(event.name, time.monotonic())
            self._screen.died(event.name, event.status or 0)
        elif event.kind == "restarted":
            task = asyncio.create_task(self._wait_ready(event))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    def cancel(self) -> None:
        """Wait for nobody any more: everything is going to be stopped."""
        for task in self._waiting:
            task.cancel()

    async def _wait_ready(self, event: ProcessEvent) -> None:
        try:
            await self.supervisor.wait_ready(event.name, deadline_s=READY_S)
        except SupervisorError:  # it died again, or everything is being stopped: both are shown elsewhere
            return
        if died_at := self._died_at.pop(event.name, None):
            self._screen.back(event.name, event.pid, time.monotonic() - died_at)


async def start_upstream(supervisor: Supervisor, site: Site, broker: PreparedBroker) -> None:
    """Start what the pipeline stands between: the broker and the simulated ServiceTrade."""

    async def broker_answers() -> bool:
        return await asyncio.to_thread(answers, broker.port)

    # The JVM itself, not `tradewind broker`: everything is prepared, and after a kill every second counts.
    await supervisor.start(ProcessSpec(name="broker", argv=broker.argv, ready=broker_answers))
    await supervisor.start(
        ProcessSpec(
            name="servicetrade",
            argv=(PYTHON, "-m", "servicetrade.simulator", f"--port={site.simulator_port}"),
            ready=f"{site.simulator_url}/_control/day",
        )
    )
    for name in ("broker", "servicetrade"):
        await supervisor.wait_ready(name, deadline_s=READY_S)


async def start_pipeline(supervisor: Supervisor, site: Site) -> list[str]:
    """Start the product's processes and wait until all are ready; returns their names, the broker's among them."""
    commands: dict[str, tuple[str, ...]] = {"ingest": ("ingest",)}
    for number in range(1, PROCESSORS + 1):
        name = f"processors-{number}"
        commands[name] = ("processors", "--instance", name)
    commands[MIRROR] = ("sink", "mirror", "--instance", MIRROR)
    for name, command in commands.items():
        ops_port = site.ops_ports[name]
        argv = (PYTHON, "-m", "cli.main", *command, "--config", str(site.config), f"--ops-port={ops_port}")
        ready = f"http://127.0.0.1:{ops_port}/readyz"
        await supervisor.start(ProcessSpec(name=name, argv=argv, ready=ready, stop_deadline_s=DRAIN_S))
    names = ["broker", *commands]
    for name in names:
        await supervisor.wait_ready(name, deadline_s=READY_S)
    return names
