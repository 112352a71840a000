"""How each process is started and stopped, and how it says that it is ready."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from fleet.plan import BROKER, INGEST, Worker
from runtime.broker import PreparedBroker, answers
from runtime.broker_config import HOST
from runtime.supervisor import ProcessSpec

DRAIN_S = 30.0
"""Above what a process takes to drain; see runtime/process.py."""


def broker_spec(broker: PreparedBroker) -> ProcessSpec:
    """The JVM itself, not `tradewind broker`: everything is prepared, and after a kill every second counts."""

    async def broker_answers() -> bool:
        return await asyncio.to_thread(answers, broker.port)

    return ProcessSpec(
        name=BROKER,
        argv=broker.argv,
        ready=broker_answers,
        stop_deadline_s=DRAIN_S,
        # It closes its log in order then; all others can be killed at any time.
        orphan_signal=signal.SIGTERM,
    )


def worker_spec(worker: Worker, *, config: Path, ops_port: int, host: str = "") -> ProcessSpec:
    """A process of the product.

    Args:
        worker: which.
        config: the configuration; an absolute path.
        ops_port: of /livez, /readyz and /metrics.
        host: makes the instance's name unique among several machines on one Kafka. The name is the same after a restart
            (static membership), so that Kafka hands a process what it had.
    """
    instance = f"{worker.name}-{host}" if host else worker.name
    named = () if worker.name == INGEST else ("--instance", instance)
    # -P: as for the `tradewind` script, what lies in the working directory is not in the way of any import.
    command = (sys.executable, "-P", "-m", "cli.main", *worker.command)
    return ProcessSpec(
        name=worker.name,
        argv=(*command, *named, "--config", str(config), f"--ops-port={ops_port}"),
        ready=f"http://{HOST}:{ops_port}/readyz",
        stop_deadline_s=DRAIN_S,
    )
