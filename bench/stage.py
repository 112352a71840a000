"""The stage of every measurement: a broker, topics filled with given timestamps, a worker as deployed, its usage."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.filling import TIMESTAMPS, fill, own_timestamps, partition_of
from runtime.broker import running_broker
from runtime.kafka import LogReader, Partition
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, PARTITIONS, RULES, WEBHOOKS

__all__ = [
    "Child",
    "Stage",
    "Usage",
    "child",
    "ends",
    "fill",
    "make_output_topic",
    "make_topics",
    "open_stage",
    "own_timestamps",
    "partition_of",
    "read_all",
    "usage",
    "worker",
]

_APPENDED = {TIMESTAMPS: "LogAppendTime"}
_STOP_S = 20.0

_CONFIG = """
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[pipeline]
horizon_s = {times.horizon_s}
memory_s = {times.memory_s}
max_ceiling_s = {times.max_ceiling_s}
[processors]
group = "{group}"
[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ env = "BENCH_SECRET" }}
[accounts.account-00]
username = "u"
password = {{ env = "BENCH_SECRET" }}
hook_secret = {{ env = "BENCH_SECRET" }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A broker of the measurement's own, and a folder that goes with it."""

    folder: Path
    bootstrap_servers: str
    broker_pid: int

    def kafka(self, prefix: str = "") -> KafkaSettings:
        """Settings for topics of that prefix."""
        return KafkaSettings(bootstrap_servers=self.bootstrap_servers, topic_prefix=prefix)


@contextmanager
def open_stage(*, heap_mb: int = 1024, report: Callable[[str], None] = lambda _: None) -> Iterator[Stage]:
    """A fresh broker in a temporary folder; both are gone on leaving.

    Raises:
        BrokerError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="tradewind-bench-") as name:
        folder = Path(name)
        with running_broker(folder / "kafka", heap_mb=heap_mb, report=report) as broker:
            yield Stage(folder=folder, bootstrap_servers=broker.bootstrap_servers, broker_pid=broker.pid)


# -- topics ------------------------------------------------------------------------------------------------------------


async def make_topics(kafka: KafkaSettings) -> None:
    """The topics as `tradewind topics` makes them, except that that of changes has the broker's append times too."""
    await ensure_topics(kafka, [WEBHOOKS, replace(CHANGES, config=_APPENDED), DEADLETTERS, RULES])


async def make_output_topic(kafka: KafkaSettings, name: str, *, partitions: int = PARTITIONS) -> None:
    """A topic like that of changes, of any name, with append times."""
    await ensure_topics(kafka, [replace(CHANGES, name=name, partitions=partitions, config=_APPENDED)])


async def ends(kafka: KafkaSettings, topic: str) -> dict[int, int]:
    """Per partition, the offset after the last record; `topic` is the full name."""
    async with LogReader.open(kafka, client_id="bench") as reader:
        return {one.number: await reader.end(one) for one in await reader.partitions(topic)}


async def read_all(kafka: KafkaSettings, topic: str, start: dict[int, int] | None = None) -> list[LogRecord]:
    """Every record of a topic (its full name), partition after partition; from the offsets of `start` on if given."""
    found: list[LogRecord] = []
    async with LogReader.open(kafka, client_id="bench") as reader:
        for partition in await reader.partitions(topic):
            async for batch in _stretch(reader, partition, (start or {}).get(partition.number)):
                found += batch
    return found


async def _stretch(reader: LogReader, partition: Partition, start: int | None) -> AsyncIterator[Sequence[LogRecord]]:
    first = await reader.beginning(partition) if start is None else start
    async for batch in reader.read(partition, first, await reader.end(partition)):
        yield batch


# -- processes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_s: float
    """User and system time of all its threads."""
    peak_rss_mb: float
    """The most memory it ever held, MiB (Linux: VmHWM)."""


def usage(pid: int) -> Usage:
    """What a running process has used.

    Raises:
        OSError: there is no such process, or no /proc.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next((line.split()[1] for line in status if line.startswith("VmHWM:")), "0")
    return Usage(cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak_rss_mb=int(peak) / 1024)


@dataclass(slots=True)
class Child:
    """A process of the measurement's own; its output is in `log`."""

    process: subprocess.Popen[bytes]
    log: Path
    used: Usage = field(default=Usage(0.0, 0.0))
    """Filled in when it is stopped."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> Usage:
        """End it with SIGKILL, wait for its end, and say what it used; harmless if it has ended."""
        if self.running:
            self.used = usage(self.pid)
            self.process.kill()
        self.process.wait(_STOP_S)
        return self.used


@contextmanager
def child(command: Sequence[str], log: Path, *, env: dict[str, str] | None = None) -> Iterator[Child]:
    """Run a process for the length of a block, its output in a file; killed and waited for on leaving."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    one = Child(process, log)
    try:
        yield one
    finally:
        one.kill()


@contextmanager
def worker(
    stage: Stage,
    kafka: KafkaSettings,
    *,
    instance: str = "worker",
    group: str = "bench",
    times: PipelineTimes | None = None,
) -> Iterator[Child]:
    """A worker process of ours as it is deployed, with default settings and the built-in rules.

    The log, one JSON object a line, is FOLDER/INSTANCE.log; a second worker of that name appends to it.
    """
    config = stage.folder / f"{instance}.toml"
    servers, prefix = kafka.bootstrap_servers, kafka.topic_prefix
    config.write_text(_CONFIG.format(servers=servers, prefix=prefix, group=group, times=times or PipelineTimes()))
    command = [sys.executable, "-m", "cli.main", "processors", "--config", str(config)]
    command += ["--instance", instance, "--ops-port", "0"]
    secret = {"BENCH_SECRET": "of-no-use-in-this-measurement"}
    with child(command, stage.folder / f"{instance}.log", env=secret) as one:
        yield one
