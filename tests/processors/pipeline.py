"""How the tests run the processors on a real broker, and know from the raw log alone what has to come out."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import RecordsToDelete

from processors.consolidator import Consolidator, Outcome
from processors.main import run
from processors.window import Origin
from rules.apply import apply_rules
from runtime.kafka import LogReader, Partition, Producer
from runtime.kafka.topics import ensure_topics, open_admin
from runtime.settings import AccountSettings, KafkaSettings, ProcessorsSettings, Settings, StoreSettings
from runtime.toml_reader import Secret
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, RULES, WEBHOOKS

TIMES = PipelineTimes(horizon_s=3, memory_s=8, max_ceiling_s=2)
QUICK = {"default": {"quiet_ms": 300, "ceiling_ms": 900}, "types": {}}
ACCOUNTS = ("acme", "bolt", "crew", "dune")
GROUP = "tradewind-processors"


async def until(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 30.0) -> None:
    """Wait for the condition; TimeoutError fails the test."""
    async with asyncio.timeout(deadline_s):
        while not await condition():  # noqa: ASYNC110 - the broker has no event to set
            await asyncio.sleep(0.05)


def settings_on(kafka: KafkaSettings) -> Settings:
    """A whole configuration in which only the broker matters."""
    account = AccountSettings(username="u", password=Secret("p"), hook_secret=Secret("of-no-use-in-this-test"))
    return Settings(
        kafka=kafka,
        store=StoreSettings(url="sqlite+aiosqlite:///unused.db", key=Secret("k")),
        accounts=dict.fromkeys(ACCOUNTS, account),
        pipeline=TIMES,
        processors=ProcessorsSettings(group=group_of(kafka), session_timeout_s=6),
    )


def group_of(kafka: KafkaSettings) -> str:
    """A consumer group of this test's own."""
    return kafka.topic_prefix + GROUP


@dataclass(slots=True)
class Pipeline:
    """The topics of one test, and what the log says has to be in them."""

    kafka: KafkaSettings
    producer: Producer
    reader: LogReader
    sent: int = 0

    async def post(self, account: str, *elements: Any, message_id: str | None = None) -> None:
        """Append a webhook."""
        self.sent += 1
        body = {"messageId": message_id or f"m-{self.sent}", "timestamp": self.sent, "data": list(elements)}
        await self.raw(account.encode(), json.dumps(body).encode())

    async def raw(
        self, key: bytes | None, value: bytes, *headers: tuple[str, bytes], partition: int | None = None
    ) -> None:
        """Append a record as it is."""
        sent = await self.producer.send(
            self.kafka.topic_prefix + WEBHOOKS.name, key=key, value=value, headers=headers, partition=partition
        )
        await sent

    async def rules(self, *accounts: str, **rule: Any) -> None:
        """Put a quick rule in force for the accounts."""
        rules = {"default": {**QUICK["default"], **rule}, "types": {}}
        await apply_rules(self.kafka, dict.fromkeys(accounts, rules))

    async def all(self, name: str) -> list[LogRecord]:
        """Every record of a topic, partition after partition."""
        found: list[LogRecord] = []
        for partition in await self.reader.partitions(self.kafka.topic_prefix + name):
            found += await self.records(partition)
        return found

    async def records(self, partition: Partition) -> list[LogRecord]:
        """Every record of a partition."""
        start, stop = await self.reader.beginning(partition), await self.reader.end(partition)
        if start == stop:
            return []
        return [record async for batch in self.reader.read(partition, start, stop) for record in batch]

    async def expected(self) -> tuple[list[Outcome], int]:
        """What the core makes of each partition's log, read once from its start, and how many windows stay open."""
        outcomes, still_open = [], 0
        for partition in await self.reader.partitions(self.kafka.topic_prefix + WEBHOOKS.name):
            core = Consolidator(Origin(partition.topic, partition.number, self.kafka.log_epoch), TIMES)
            outcomes.append(core.feed(await self.records(partition)))
            still_open += core.open_windows
        return outcomes, still_open

    async def complete(self) -> bool:
        """Whether no window is open by the log, and each of its changes is on the topic of changes."""
        outcomes, still_open = await self.expected()
        if still_open:
            return False
        wanted = {encode(change) for outcome in outcomes for change in outcome.changes}
        return wanted <= {record.value for record in await self.all(CHANGES.name)}

    async def check(self, *, repeats: bool) -> list[LogRecord]:
        """The changes on the topic, which must be those of the log: none missing, none else, repeats identical."""
        outcomes, _ = await self.expected()
        wanted = Counter(encode(change) for outcome in outcomes for change in outcome.changes)
        found = await self.all(CHANGES.name)
        values = Counter(record.value or b"" for record in found)
        assert values.keys() == wanted.keys()
        assert repeats or values == wanted
        letters = {(r.key, r.value, (*r.headers, *d.headers())) for o in outcomes for r, d in o.dead_letters}
        assert {(r.key, r.value, r.headers) for r in await self.all(DEADLETTERS.name)} == letters
        copies = {encode(entry) for outcome in outcomes for entry in outcome.rules}
        assert {record.value for record in await self.all(RULES.name)} == copies
        return found


@asynccontextmanager
async def pipeline_on(kafka: KafkaSettings, *, partitions: int = 2) -> AsyncIterator[Pipeline]:
    """Topics with few partitions, and what writes to them and reads them."""
    few = [replace(topic, partitions=partitions) for topic in (WEBHOOKS, CHANGES, DEADLETTERS)]
    await ensure_topics(kafka, [*few, RULES])
    async with Producer.open(kafka, client_id="test") as producer, LogReader.open(kafka, client_id="test") as reader:
        yield Pipeline(kafka, producer, reader)


@asynccontextmanager
async def working(kafka: KafkaSettings, *, accept_loss: bool = False) -> AsyncIterator[asyncio.Task[None]]:
    """A worker in this process, stopped on leaving."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        run(
            settings_on(kafka),
            instance="worker",
            ops_host="127.0.0.1",
            ops_port=0,
            accept_loss=accept_loss,
            stop=stop,
        )
    )
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


CONFIG = """
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[pipeline]
horizon_s = {times.horizon_s}
memory_s = {times.memory_s}
max_ceiling_s = {times.max_ceiling_s}
[processors]
group = "{group}"
session_timeout_s = 6
[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ env = "PATH" }}
"""
ACCOUNT = '[accounts.{name}]\nusername = "u"\npassword = {{ env = "PATH" }}\nhook_secret = {{ env = "HOOK" }}\n'


@asynccontextmanager
async def worker_process(
    kafka: KafkaSettings, folder: Path, instance: str, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker as an operator starts it, killed on leaving if it still runs; its output is in FOLDER/INSTANCE.log."""
    config = folder / "tradewind.toml"
    text = CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, times=TIMES, group=group_of(kafka))
    config.write_text(text + "".join(ACCOUNT.format(name=name) for name in ACCOUNTS))
    command = ["-m", "cli.main", "processors", "--config", str(config), "--instance", instance, "--ops-port", "0"]
    with (folder / f"{instance}.log").open("ab") as log:
        environ = {**os.environ, "HOOK": "of-no-use-in-this-test"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *arguments, stdout=log, stderr=log, env=environ
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def removed_before(kafka: KafkaSettings, partition: Partition, offset: int) -> None:
    """Do what retention does: the log begins at that offset from now on."""
    async with open_admin(kafka) as admin:
        await admin.delete_records({TopicPartition(partition.topic, partition.number): RecordsToDelete(offset)})


@asynccontextmanager
async def committing(
    kafka: KafkaSettings, group: str
) -> AsyncIterator[Callable[[Mapping[Partition, int]], Awaitable[bool]]]:
    """Commits offsets for a group that has no members."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    await consumer.start()

    async def commit(positions: Mapping[Partition, int]) -> bool:
        offsets = {TopicPartition(partition.topic, partition.number): at for partition, at in positions.items()}
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
        return True

    try:
        yield commit
    finally:
        await consumer.stop()


def collect_quietly() -> None:
    """Free what stopped workers left: Faust never closes the event loop of its consumer's thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


FAUST_LEAVES_ITS_LOOP_OPEN = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""For tests that run Faust in this process."""


def job(entity_id: int, *, action: str = "updated", **more: Any) -> dict[str, Any]:
    """One notification about a job."""
    return {"entity": {"type": "job", "id": entity_id}, "action": action, "timestamp": 5, **more}


def values(records: Sequence[LogRecord]) -> list[Any]:
    """The records' JSON."""
    return [json.loads(record.value or b"null") for record in records]
