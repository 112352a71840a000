"""Live measurements: a paced load in a process of its own, the worker's log, and the changes as they are appended."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from bench.stage import Child, Stage, child, partition_of
from bench.workload import Posted, account_name, generate, webhook
from runtime.kafka import LogReader, Producer
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings
from schemas.change import EntityChange, decode_change
from schemas.topics import CHANGES, PARTITIONS, WEBHOOKS

POLL_S = 0.05
_SECOND_ENTITY = 10**12
"""Entities of the load are others than those of a workload that fills the topic."""

# -- load --------------------------------------------------------------------------------------------------------------


def bursts(rate: float, seconds: float) -> Iterator[Posted]:
    """The workload of the throughput part, beginning now, at that many notifications a second."""
    yield from generate(round(rate * seconds), start_ms=round(time.time() * 1000), span_s=seconds)


def scattered(rate: float, seconds: float) -> Iterator[Posted]:
    """Each notification about an entity of its own; partition after partition, evenly apart."""
    dice, start_ms = random.Random(2), time.time() * 1000
    accounts = one_account_per_partition()
    for number in range(round(rate * seconds)):
        at_ms = round(start_ms + number * 1000 / rate)
        account = accounts[number % len(accounts)]
        yield Posted(at_ms, account, webhook(dice, at_ms, "job", _SECOND_ENTITY + number))


def one_entity(rate: float, seconds: float) -> Iterator[Posted]:
    """All about one entity of one account."""
    dice, start_ms = random.Random(3), time.time() * 1000
    for number in range(round(rate * seconds)):
        at_ms = round(start_ms + number * 1000 / rate)
        yield Posted(at_ms, account_name(0), webhook(dice, at_ms, "job", _SECOND_ENTITY))


LOADS: dict[str, Callable[[float, float], Iterator[Posted]]] = {
    "bursts": bursts,
    "scattered": scattered,
    "one_entity": one_entity,
}


def one_account_per_partition() -> list[str]:
    """Names of accounts, the first for partition 0 and so on."""
    found: dict[int, str] = {}
    for number in count():
        found.setdefault(partition_of(account_name(number)), account_name(number))
        if len(found) == PARTITIONS:
            break
    return [found[partition] for partition in range(PARTITIONS)]


async def _send(kafka: KafkaSettings, posted: Iterator[Posted]) -> dict[str, Any]:
    """Send each webhook when its time has come, whether or not the one before it is acknowledged."""
    topic, sent, latest_ms, started_ms = full_name(kafka, WEBHOOKS), [], 0.0, time.time() * 1000
    waits: list[float] = []

    def timed(sending: asyncio.Future[Any]) -> asyncio.Future[Any]:
        began = time.monotonic()
        sending.add_done_callback(lambda _: waits.append((time.monotonic() - began) * 1000))
        return sending

    async with Producer.open(kafka, client_id="load") as producer:
        for one in posted:
            while (ahead_ms := one.timestamp_ms - time.time() * 1000) > 0:  # noqa: ASYNC110 - for a time, not an event
                await asyncio.sleep(ahead_ms / 1000)
            latest_ms = max(latest_ms, -ahead_ms)
            sent.append(timed(await producer.send(topic, key=one.account.encode(), value=one.body)))
        await asyncio.gather(*sent)
    waits.sort()
    return {
        "sent": len(sent),
        "started_ms": round(started_ms),
        "latest_ms": round(latest_ms),
        # A plain append, for comparison: what this machine and broker took at that time.
        "append_p50_ms": round(waits[len(waits) // 2], 1),
        "append_p99_ms": round(waits[len(waits) * 99 // 100], 1),
    }


def load(
    stage: Stage, kafka: KafkaSettings, name: str, *, rate: float, seconds: float
) -> AbstractContextManager[Child]:
    """A load in a process of its own, one of LOADS; its figures are read with `sent_by`."""
    command = [sys.executable, "-m", "bench.live", kafka.bootstrap_servers, kafka.topic_prefix, name]
    log = stage.folder / f"load-{kafka.topic_prefix}{name}.log"
    return child([*command, str(rate), str(seconds)], log, env={"PYTHONPATH": str(Path(__file__).parents[1])})


async def sent_by(one: Child, *, deadline_s: float) -> dict[str, Any]:
    """Wait until the load has ended, and read its figures.

    How many it sent, when it started, how far it fell behind at most, and how long its own appends took; milliseconds.

    Raises:
        TimeoutError: it did not end.
        RuntimeError: it failed.
    """
    async with asyncio.timeout(deadline_s):
        while one.running:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(POLL_S)
    text = one.log.read_text()
    if one.process.returncode:
        raise RuntimeError(f"the load failed: {text[-2000:]}")
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


# -- the worker's log --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restore:
    """A partition's restore, as the worker logged it."""

    partition: int
    ended_ms: float
    seconds: float
    records: int


async def restored(one: Child, *, skip: int = 0, deadline_s: float = 120.0) -> list[Restore]:
    """Wait until the worker has restored every partition.

    Args:
        one: the worker.
        skip: bytes of its log that are an earlier worker's.
        deadline_s: how long that may take.

    Raises:
        TimeoutError: it has not.
        RuntimeError: it ended.
    """
    async with asyncio.timeout(deadline_s):
        while True:
            found = [
                Restore(entry["partition"], _ms(entry["time"]), entry["seconds"], entry["records"])
                for entry in entries(one.log, skip=skip)
                if entry.get("event") == "processors.restored"
            ]
            if {restore.partition for restore in found} == set(range(PARTITIONS)):
                return found
            if not one.running:
                raise RuntimeError(f"the worker ended: {one.log.read_text()[-3000:]}")
            await asyncio.sleep(POLL_S)


def assigned_ms(one: Child, *, skip: int = 0) -> float:
    """When the worker was given its partitions, Unix milliseconds, as it logged it."""
    return next(_ms(entry["time"]) for entry in entries(one.log, skip=skip) if entry["event"] == "processors.assigned")


def entries(log: Path, *, skip: int = 0) -> Iterator[dict[str, Any]]:
    """The whole lines of a log, from that byte on."""
    for line in log.read_bytes()[skip:].rpartition(b"\n")[0].splitlines():
        if line.startswith(b"{"):
            yield json.loads(line)


def _ms(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp() * 1000


# -- changes -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """The changes on the topic so far; read on from where it stands, so that waiting for an end costs little."""

    kafka: KafkaSettings
    changes: int = 0
    notifications: int = 0
    """Of different changes: a repeat adds nothing."""
    repeats: int = 0
    _ids: set[str] = field(default_factory=set)
    _positions: dict[int, int] = field(default_factory=dict)

    async def read(self) -> AsyncIterator[tuple[int, EntityChange]]:
        """Each change that was not seen before, with its append time."""
        async with LogReader.open(self.kafka, client_id="bench") as reader:
            for partition in await reader.partitions(full_name(self.kafka, CHANGES)):
                start, end = self._positions.get(partition.number, 0), await reader.end(partition)
                async for batch in reader.read(partition, start, end):
                    for record in batch:
                        change = decode_change(record.value or b"")
                        if change.id in self._ids:
                            self.repeats += 1
                            continue
                        self._ids.add(change.id)
                        self.changes += 1
                        self.notifications += change.notifications
                        yield record.timestamp, change
                self._positions[partition.number] = end

    async def until(self, notifications: int, worker: Child, *, deadline_s: float) -> list[tuple[int, EntityChange]]:
        """Read until that many notifications have come out; what it has read, in order of append.

        Raises:
            TimeoutError: they have not.
            RuntimeError: the worker ended.
        """
        found: list[tuple[int, EntityChange]] = []
        end = time.monotonic() + deadline_s
        while True:
            found += [item async for item in self.read()]
            if self.notifications >= notifications:
                return sorted(found, key=lambda item: item[0])
            if not worker.running:
                raise RuntimeError(f"the worker ended: {worker.log.read_text()[-3000:]}")
            if time.monotonic() > end:
                raise TimeoutError(f"{self.notifications} of {notifications} notifications came out")
            await asyncio.sleep(0.5)


def main() -> None:
    """Be the load: send, then print what was sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers")
    parser.add_argument("prefix")
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    kafka = KafkaSettings(bootstrap_servers=given.servers, topic_prefix=given.prefix)
    print(json.dumps(asyncio.run(_send(kafka, LOADS[given.load](given.rate, given.seconds)))))


if __name__ == "__main__":
    main()
