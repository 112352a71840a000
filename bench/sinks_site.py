"""What the runs of the sinks section have in common: accounts, configuration, and the product's processes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from aiokafka.errors import UnknownTopicOrPartitionError
from cryptography.fernet import Fernet

from bench.sinks_office import PASSWORD, PASSWORD_ENV, Office, username
from bench.stage import Child, Stage, child, ends
from runtime.broker_config import HOST, free_port
from runtime.kafka.topics import ensure_topics, full_name
from runtime.probe import is_ready
from runtime.settings import KafkaSettings, StoreSettings
from runtime.toml_reader import Secret
from schemas.topics import CHANGES, DEADLETTERS, DELIVERIES, RULES, WEBHOOKS

CONCURRENCY = 64
"""Reads at a time, over all accounts."""
ACCOUNT_CONCURRENCY = 8
"""The same of one account. Of ours it bounds the sink and the client."""
HOOK_SECRET = "of-no-use-outside-of-this-measurement"  # noqa: S105 - it opens nothing
KEY_ENV, HOOK_ENV = "BENCH_STORE_KEY", "BENCH_HOOK_SECRET"
START_S = 60.0
_POLL_S = 0.05
_APPENDED = {"message.timestamp.type": "LogAppendTime"}

_CONFIG = """
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"
[store]
url = "{store}"
key = {{ env = "BENCH_STORE_KEY" }}
[servicetrade]
base_url = "{api}"
concurrency = {account_concurrency}
[ingest]
port = {port}
[ingest.spool]
folder = "{folder}/{label}.spool"
[processors]
group = "{label}-processors"
[sinks.mirror]
group = "{label}"
concurrency = {concurrency}
account_concurrency = {account_concurrency}
"""
_ACCOUNT = """[accounts.{name}]
username = "{username}"
password = {{ env = "BENCH_PASSWORD" }}
hook_secret = {{ env = "BENCH_HOOK_SECRET" }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A broker, a simulator whose accounts have jobs, and a folder for stores."""

    stage: Stage
    office: Office
    jobs: Mapping[str, Sequence[int]]
    """Their ids, by account."""
    disk: Path
    """On the disk of the checkout: a temporary folder may be in memory, where fsync costs nothing."""
    key: str
    """That session tokens are encrypted with."""

    @classmethod
    def new(cls, stage: Stage, office: Office, jobs: Mapping[str, Sequence[int]], disk: Path) -> Site:
        """With a key of its own."""
        return cls(stage=stage, office=office, jobs=jobs, disk=disk, key=Fernet.generate_key().decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the product: topics, consumer groups and a store."""

    site: Site
    label: str
    """Its consumer groups' and files' name."""
    kafka: KafkaSettings
    url: str
    """SQLAlchemy URL of an empty store."""
    port: int
    """Of ingest, if it runs."""

    @classmethod
    def new(cls, site: Site, label: str, kafka: KafkaSettings, url: str | None = None) -> Run:
        """A run with a free port; its store is a new SQLite file unless another one is given."""
        store = url or f"sqlite+aiosqlite:///{site.disk / f'{label}.db'}"
        return cls(site=site, label=label, kafka=kafka, url=store, port=free_port())

    @property
    def store(self) -> StoreSettings:
        """For a look into the store."""
        return StoreSettings(url=self.url, key=Secret(self.site.key))

    def configure(self) -> Path:
        """Write the configuration: what has no default, names that are this run's own, and the concurrency."""
        path = self.site.stage.folder / f"{self.label}.toml"
        head = _CONFIG.format(
            servers=self.kafka.bootstrap_servers,
            prefix=self.kafka.topic_prefix,
            store=self.url,
            api=self.site.office.url,
            port=self.port,
            folder=self.site.disk,
            label=self.label,
            concurrency=CONCURRENCY,
            account_concurrency=ACCOUNT_CONCURRENCY,
        )
        path.write_text(head + "".join(_ACCOUNT.format(name=name, username=username(name)) for name in self.site.jobs))
        return path

    @asynccontextmanager
    async def process(self, *command: str) -> AsyncIterator[Child]:
        """A process of the product that is ready; `command` is what follows `tradewind`.

        Raises:
            RuntimeError: it does not become ready.
        """
        ops_port = free_port({self.port})
        words = [*command, "--config", str(self.configure()), "--ops-port", str(ops_port)]
        if command[0] != "ingest":
            words += ["--instance", f"{self.label}-{command[-1]}"]
        secrets = {KEY_ENV: self.site.key, PASSWORD_ENV: PASSWORD, HOOK_ENV: HOOK_SECRET}
        log = self.site.stage.folder / f"{self.label}-{command[-1]}.log"
        with child([sys.executable, "-m", "cli.main", *words], log, env=secrets) as process:
            await _until_ready(process, ops_port)
            yield process


async def _until_ready(process: Child, ops_port: int) -> None:
    deadline = time.monotonic() + START_S
    while not await is_ready(f"http://{HOST}:{ops_port}/readyz"):
        if not process.running or time.monotonic() > deadline:
            raise RuntimeError(f"it does not start: {tail(process)}")
        await asyncio.sleep(_POLL_S)


def tail(process: Child) -> str:
    """The end of what it said."""
    return process.log.read_text(errors="replace")[-2000:]


async def make_topics(kafka: KafkaSettings) -> None:
    """All topics, those of changes and deliveries with the broker's append times; returns once they are known."""
    appended = [replace(topic, config=_APPENDED) for topic in (CHANGES, DELIVERIES)]
    await ensure_topics(kafka, [WEBHOOKS, *appended, DEADLETTERS, RULES])
    deadline = time.monotonic() + START_S
    for topic in (WEBHOOKS, CHANGES, DELIVERIES):
        while True:
            try:
                await ends(kafka, full_name(kafka, topic))
                break
            except UnknownTopicOrPartitionError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_POLL_S)
