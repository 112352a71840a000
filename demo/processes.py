"""The demo's processes: all that the product has, each on its own, under the supervisor."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from demo.screen import Screen
from demo.site import PROCESSORS, Site
from fleet.plan import BROKER, make_plan
from fleet.specs import broker_spec, worker_spec
from fleet.watch import Watch
from runtime.broker import PreparedBroker
from runtime.supervisor import ProcessSpec, Supervisor

READY_S = 60.0


@asynccontextmanager
async def supervised(site: Site, screen: Screen) -> AsyncIterator[Supervisor]:
    """A supervisor whose processes' deaths and recoveries are shown; leaving the block stops them all."""
    watch = Watch(
        on_death=lambda death: screen.died(death.name, death.status),
        on_return=lambda found: screen.back(found.name, found.pid, found.ready_after_s),
    )
    async with Supervisor(log_dir=site.folder / "logs", on_event=watch) as supervisor:
        watch.supervisor = supervisor
        try:
            yield supervisor
        finally:
            watch.cancel()


async def start_upstream(supervisor: Supervisor, site: Site, broker: PreparedBroker) -> None:
    """Start what the pipeline stands between: the broker and the simulated ServiceTrade."""
    # What is in it dies with the demo; and the next one may empty its folder at once.
    await supervisor.start(replace(broker_spec(broker), orphan_signal=signal.SIGKILL))
    await supervisor.start(
        ProcessSpec(
            name="servicetrade",
            argv=(sys.executable, "-m", "servicetrade.simulator", f"--port={site.simulator_port}"),
            ready=f"{site.simulator_url}/_control/day",
        )
    )
    for name in (BROKER, "servicetrade"):
        await supervisor.wait_ready(name, deadline_s=READY_S)


async def start_pipeline(supervisor: Supervisor, site: Site) -> list[str]:
    """Start the product's processes and wait until all are ready; returns their names, the broker's among them."""
    plan = make_plan(site.settings, frozenset({"sinks.mirror"}), processors=PROCESSORS)
    for worker in plan.workers:
        await supervisor.start(worker_spec(worker, config=site.config, ops_port=site.ops_ports[worker.name]))
    names = [BROKER, *(worker.name for worker in plan.workers)]
    for name in names:
        await supervisor.wait_ready(name, deadline_s=READY_S)
    return names
