"""`tradewind tail` on a real broker: order, what is new, restarts, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from cli.main import app
from runtime.broker import running_broker
from runtime.broker_config import free_port
from runtime.kafka import KafkaError, LogReader, Partition, Producer, acknowledged
from runtime.kafka.topics import ensure_topics, open_admin
from runtime.settings import KafkaSettings
from schemas.change import FieldChange, change_record
from schemas.errors import SettingsError
from schemas.record import LogRecord
from schemas.topics import CHANGES, Topic
from tests.sinks.letter_making import Office
from tests.sinks.making import change
from views.tail import follow, merged, resumed

pytestmark = pytest.mark.anyio

TWO = replace(CHANGES, partitions=2)
CONFIG = """
[kafka]
bootstrap_servers = "{kafka.bootstrap_servers}"
topic_prefix = "{kafka.topic_prefix}"
[store]
url = "sqlite+aiosqlite:///{folder}/store.db"
key = {{ file = "secret" }}
[accounts.acme]
username = "u"
password = {{ file = "secret" }}
hook_secret = {{ file = "secret" }}
"""


@pytest.fixture
def config(kafka: KafkaSettings, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("of-no-use-in-this-test")
    (tmp_path / "tradewind.toml").write_text(CONFIG.format(kafka=kafka, folder=tmp_path))
    return tmp_path / "tradewind.toml"


@pytest.fixture
async def producer(kafka: KafkaSettings) -> AsyncIterator[Producer]:
    await ensure_topics(kafka, [TWO])
    async with Producer.open(kafka, client_id="test") as opened:
        yield opened


async def append(producer: Producer, topic: str, *values: str, partition: int = 0) -> None:
    for value in values:
        await acknowledged(await producer.send(topic, key=b"k", value=value.encode(), partition=partition))


class Follower:
    """Somebody who follows a topic, in a task of its own."""

    def __init__(self, kafka: KafkaSettings, topic: str, *, since_ms: int | None) -> None:
        self.seen: list[str] = []
        self.told: list[str] = []
        self.turns = 0
        self._kafka, self._topic, self._since_ms = kafka, topic, since_ms

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await self.until(lambda: self.turns > 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        records = follow(self._kafka, self._topic, since_ms=self._since_ms, go_on=True, told=self.told.append)
        async with aclosing(records) as batches:
            async for batch in batches:
                self.seen += [(record.value or b"").decode() for record in batch]
                self.turns += not batch

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.02)


async def shown(kafka: KafkaSettings, topic: str, since_ms: int) -> list[str]:
    found: list[str] = []
    async with aclosing(follow(kafka, topic, since_ms=since_ms, go_on=False, told=found.append)) as batches:
        async for batch in batches:
            found += [(record.value or b"").decode() for record in batch]
    return found


# -- following -----------------------------------------------------------------------------------------------------


async def test_what_is_there_comes_in_the_order_of_its_times_over_all_partitions(
    kafka: KafkaSettings, producer: Producer
) -> None:
    topic = kafka.topic_prefix + CHANGES.name
    for number in range(6):
        await append(producer, topic, str(number), partition=number % 3 % 2)
        await asyncio.sleep(0.002)  # two records of one millisecond have no order
    assert await shown(kafka, topic, 0) == list("012345")


async def test_of_a_partition_more_than_one_fetch_is_read_each_record_once(
    kafka: KafkaSettings, producer: Producer
) -> None:
    topic, big = kafka.topic_prefix + CHANGES.name, b"x" * 1_500_000
    sent = [await producer.send(topic, key=b"k", value=big, partition=number % 2) for number in range(12)]
    await asyncio.gather(*(acknowledged(one) for one in sent))
    async with LogReader.open(kafka, client_id="test") as reader:
        starts = dict.fromkeys(await reader.partitions(topic), 0)
        records: list[LogRecord] = []
        async for batch in merged(reader, starts, await reader.ends(list(starts))):
            records += batch
    assert [record.timestamp for record in records] == sorted(record.timestamp for record in records)
    for number in (0, 1):
        assert [record.offset for record in records if record.partition == number] == list(range(6))


async def test_without_a_time_only_what_comes_from_now_on_is_shown(kafka: KafkaSettings, producer: Producer) -> None:
    topic = kafka.topic_prefix + CHANGES.name
    await append(producer, topic, "old")
    async with Follower(kafka, topic, since_ms=None) as follower:
        await append(producer, topic, "new", "newer", partition=1)
        await follower.until(lambda: follower.seen == ["new", "newer"])


async def test_a_time_that_nothing_follows_shows_nothing(kafka: KafkaSettings, producer: Producer) -> None:
    topic = kafka.topic_prefix + CHANGES.name
    await append(producer, topic, "old")
    assert await shown(kafka, topic, 4_000_000_000_000) == []


async def test_a_topic_that_is_not_there_is_said(kafka: KafkaSettings) -> None:
    with pytest.raises(KafkaError, match="run `tradewind topics`"):
        await shown(kafka, kafka.topic_prefix + CHANGES.name, 0)


async def test_a_brokers_restart_is_told_and_survived_and_every_record_is_shown_once(tmp_path: Path) -> None:
    port, topic = free_port(), CHANGES.name
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{port}")
    async with AsyncExitStack() as stack:
        with running_broker(tmp_path / "kafka", port=port):
            await ensure_topics(kafka, [TWO])
            async with Producer.open(kafka, client_id="test") as producer:
                await append(producer, topic, "before")
            follower = await stack.enter_async_context(Follower(kafka, topic, since_ms=0))
            await follower.until(lambda: follower.seen == ["before"])
        await follower.until(lambda: bool(follower.told))
        assert "is away" in follower.told[0]
        with running_broker(tmp_path / "kafka", port=port):
            async with Producer.open(kafka, client_id="test") as producer:
                await append(producer, topic, "after", "last", partition=1)
            await follower.until(lambda: len(follower.seen) > 2)
            assert follower.seen == ["before", "after", "last"]
            assert follower.told[1:] == ["the broker is back"]
            await stack.aclose()


async def test_what_was_removed_while_the_broker_was_away_is_told(kafka: KafkaSettings, producer: Producer) -> None:
    topic, told = kafka.topic_prefix + CHANGES.name, list[str]()
    await append(producer, topic, "a", "b", "c")
    async with open_admin(kafka) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(2)})
    async with LogReader.open(kafka, client_id="test") as reader:
        first, second = Partition(topic, 0), Partition(topic, 1)
        assert await resumed(reader, {first: 3, second: 0}, told.append) == {first: 3, second: 0}
        assert told == []
        assert await resumed(reader, {first: 1, second: 7}, told.append) == {first: 2, second: 0}
    assert told == [
        f"{topic}[0]: retention removed offsets 1 to 1 before they could be shown",
        f"{topic}[1] ends at 0, and was read to 7 before: it is shown from its beginning",
    ]


# -- the command ---------------------------------------------------------------------------------------------------


def tail(config: Path, *arguments: str) -> int:
    return int(app(["tail", *arguments, "--config", str(config)], result_action="return_value"))


async def send_changes(office: Office, topic: Topic = CHANGES) -> None:
    for number, one in enumerate(
        (change(1, 7), change(2, 8, action="deleted", account="bolt"), change(3, 7, entity_type="quote"))
    ):
        key, value, headers = change_record(one)
        sent = await office.producer.send(
            office.name(topic), key=key, value=value, headers=headers, partition=number % 2
        )
        await acknowledged(sent)
        await asyncio.sleep(0.002)


async def test_filters_and_json_show_what_was_asked_for(
    office: Office, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await send_changes(office)
    for arguments, expected in (
        ((), ["job/7", "job/8", "quote/7"]),
        (("--id", "007"), ["job/7", "quote/7"]),
        (("--id", "Job/7"), ["job/7"]),
        (("--id", "job/8", "--id", "quote/7"), ["job/8", "quote/7"]),
        (("--account", "bolt", "--action", "deleted"), ["job/8"]),
        (("--type", "QUOTE", "--type", "invoice"), ["quote/7"]),
    ):
        wanted = ("changes", "--since", "1h", "--no-follow", *arguments)
        assert await asyncio.to_thread(tail, config, *wanted) == 0
        assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == expected
        assert await asyncio.to_thread(tail, config, *wanted, "--json") == 0
        found = [json.loads(line)["change"] for line in capsys.readouterr().out.splitlines()]
        assert [f"{one['entity_type']}/{one['entity_id']}" for one in found] == expected


async def test_dead_letters_of_a_stage_are_shown_and_strange_records_are_told(
    office: Office, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = await office.bury(stage="forward/crm")
    await office.bury(stage="mirror")
    await acknowledged(
        await office.producer.send(office.kafka.topic_prefix + "servicetrade.deadletters", key=b"k", value=b"x")
    )
    await asyncio.to_thread(tail, config, "deadletters", "--since", "1h", "--no-follow", "--sink", "forward")
    printed, told = capsys.readouterr()
    assert [line.split()[4] for line in printed.splitlines()] == [str(letter)]
    assert "is nothing of ours" in " ".join(told.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--no-follow",), "--no-follow shows what is there already"),
        (("--since", "yesterday"), "--since: 'yesterday' is no time"),
        (("--since", "2199-01-01"), "--since: 2199-01-01 lies ahead"),
    ],
)
def test_a_time_that_says_nothing_is_refused(config: Path, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        tail(config, "changes", *arguments)


async def test_what_may_be_mistyped_is_said(office: Office, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await send_changes(office)
    mistyped = ("--account", "acne", "--type", "jbo", "--since", "1h", "--no-follow")
    assert await asyncio.to_thread(tail, config, "changes", *mistyped) == 0
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "no account 'acne' is known to the configuration; did you mean acme?" in " ".join(told.split())
    assert "did you mean job?" in told


def mute(config: Path, port: int) -> None:
    """From now on the broker is whoever listens there."""
    here, lines = f'bootstrap_servers = "127.0.0.1:{port}"', config.read_text().splitlines()
    config.write_text("\n".join(here if line.startswith("bootstrap_servers") else line for line in lines))


async def test_json_on_a_terminal_holds_nothing_that_the_terminal_would_obey(office: Office, config: Path) -> None:
    await send_changes(office)
    evil = "\x9b2J\u202e\x7f"
    key, value, headers = change_record(replace(change(4, 9), changeset=(FieldChange("note", None, evil),)))
    await acknowledged(await office.producer.send(office.name(CHANGES), key=key, value=value, headers=headers))
    command = (sys.executable, "-m", "cli.main", "tail", "changes", "--since", "1h", "--json", "--config", str(config))
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = await asyncio.create_subprocess_exec(*command, stdout=theirs, stderr=PIPE)
        os.close(theirs)
        printed = b""
        while printed.count(b"\n") < 4:
            printed += await asyncio.to_thread(terminal.read, 2**16)
        process.send_signal(signal.SIGINT)
        await process.wait()
    lines = printed.decode().splitlines()
    assert all(line.isprintable() for line in lines)
    told = {one["entity_id"]: one["changeset"] for one in (json.loads(line)["change"] for line in lines)}
    assert told["9"][0]["new_value"] == evil


async def test_a_broker_that_does_not_answer_is_said_in_a_sentence(config: Path) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)  # until the other side has had enough
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as server, asyncio.timeout(120):
        mute(config, server.sockets[0].getsockname()[1])
        command = (sys.executable, "-m", "cli.main", "tail", "changes", "--config", str(config))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        printed, told = await process.communicate()
    assert (process.returncode, printed) == (1, b"")
    assert told.decode().splitlines() == ["tradewind: Kafka: KafkaError: no answer within 5 s"]


@pytest.mark.parametrize("how", ["interrupted", "nobody reads"])
async def test_it_ends_quietly_when_it_is_interrupted_or_nobody_reads_any_more(
    office: Office, config: Path, how: str
) -> None:
    await send_changes(office)
    command = (sys.executable, "-m", "cli.main", "tail", "changes", "--since", "1h", "--config", str(config))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(120):
        assert b"job/7" in await process.stdout.readline()
        if how == "interrupted":
            process.send_signal(signal.SIGINT)
        else:
            process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined] # there is no public way
        assert await process.wait() == 0
        assert await process.stderr.read() == b""
