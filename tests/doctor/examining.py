"""What the tests of the doctor share: an examination, and the lines of its report that a test is about."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from doctor.doctor import examine
from doctor.finding import Finding, State
from doctor.patience import Patience
from runtime.database import open_database
from runtime.kafka.describing import describe
from runtime.kafka.topics import ensure_topics, full_name, wanted_config
from runtime.settings import KafkaSettings, StoreSettings
from runtime.store_schema import upgrade
from schemas.topics import TOPICS, Topic

OK, WARNING, FAILED, NOT_CHECKED = State.OK, State.WARNING, State.FAILED, State.NOT_CHECKED


@dataclass(slots=True)
class Report:
    """All that was told, in order."""

    findings: list[Finding] = field(default_factory=list)
    readable: bool = False

    def of(self, check: str, subject: str | None = None) -> list[Finding]:
        return [one for one in self.findings if one.check == check and subject in (None, one.subject)]

    def one(self, check: str, subject: str | None = None) -> Finding:
        (found,) = self.of(check, subject)
        return found

    def states(self, check: str) -> dict[str, State]:
        return {one.subject: one.state for one in self.of(check)}


async def examined(config: Path, *, login: bool = True, patience: Patience | None = None) -> Report:
    report = Report()
    report.readable = await examine(config, report.findings.append, login=login, patience=patience)
    # Whatever is wrong, it is said what to do.
    assert all(one.do for one in report.findings if one.state in (WARNING, FAILED))
    assert len(report.findings) == len({(one.check, one.subject, one.what) for one in report.findings})
    return report


async def make_store(settings: StoreSettings) -> None:
    async with open_database(settings) as database:
        await upgrade(database)


async def make_topics(settings: KafkaSettings, topics: Sequence[Topic] = TOPICS) -> None:
    """Create them, and wait until the broker that is asked tells of them: it follows the controller's log."""
    await ensure_topics(settings, topics)
    wanted = {full_name(settings, topic): wanted_config(settings, topic).items() for topic in topics}
    async with asyncio.timeout(60):
        while True:
            _, seen = await describe(settings, list(wanted))
            if all(name in seen and config <= seen[name].config.items() for name, config in wanted.items()):
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """host:port of somebody who takes connections and says nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()
            await writer.wait_closed()


def on_kafka(config: Path, kafka: KafkaSettings, *, port: str | None = None) -> None:
    """Let a configuration lead to a broker: topics and groups are this test's own."""
    own = kafka.topic_prefix
    text = config.read_text()
    where = f'bootstrap_servers = "{port or kafka.bootstrap_servers}"\ntopic_prefix = "{own}"'
    text, count = re.subn(r'bootstrap_servers = ".*"', where, text)
    assert count == 1
    groups = [f'[{table}]\ngroup = "{own}{table}"' for table in ("processors", "sinks.mirror", "sinks.command")]
    config.write_text("\n".join([text, *groups]) + "\n")
