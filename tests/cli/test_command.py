"""`tradewind command`, as people use it: through Kafka to the command sink and a simulated ServiceTrade, and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cli.command import command_app
from runtime.kafka import KafkaError, LogReader
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings, StoreSettings, read_settings
from schemas.command import Command, decode_command
from schemas.errors import SettingsError, StoreError
from schemas.topics import COMMANDS, RESULTS
from sinks.main import Ops, run_command
from tests.servicetrade.site import Site
from tests.simulator.support import running, until
from tests.sinks.commanding import LOST, QUICK, Office

pytestmark = pytest.mark.anyio

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with running() as simulator:
        yield Office(simulator)


@pytest.fixture
async def site(office: Office, kafka: KafkaSettings, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    """Two accounts, topics, and no command sink yet."""
    found = Site(tmp_path, office.simulator, sqlite_settings, login=QUICK)
    where = f'bootstrap_servers = "{kafka.bootstrap_servers}"\ntopic_prefix = "{kafka.topic_prefix}"'
    ours = f'\n[sinks.command]\ngroup = "{kafka.topic_prefix}command"\nsession_timeout_s = 6\n'
    found.config.write_text(found.config.read_text().replace('bootstrap_servers = "127.0.0.1:1"', where) + ours)
    await ensure_topics(kafka)
    async with LogReader.open(kafka, client_id="test") as reader:
        for topic in (COMMANDS, RESULTS):
            await until(lambda topic=topic: is_there(reader, kafka.topic_prefix + topic.name))  # type: ignore[misc]
    return found


async def is_there(reader: LogReader, topic: str) -> bool:
    """A topic that was just made is not known to the broker at once."""
    with contextlib.suppress(KafkaError):
        return bool(await reader.partitions(topic))
    return False


@contextlib.asynccontextmanager
async def sinking(site: Site) -> AsyncIterator[None]:
    """The command sink, as `tradewind sink command` runs it."""
    stop = asyncio.Event()
    ops = Ops(instance="command-1", host="127.0.0.1", port=0)
    sink = asyncio.create_task(run_command(read_settings(site.config), ops, stop))
    try:
        yield
    finally:
        stop.set()
        await sink


@pytest.fixture
def run(site: Site, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tradewind command ...`; returns the exit code, what it printed, and what it complained of."""

    def in_a_thread(*arguments: str) -> int:
        code = command_app([*arguments, "--config", str(site.config)], result_action="return_value")
        assert isinstance(code, int)
        return code

    async def runner(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(in_a_thread, *arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return runner


def creation(location: str, name: str) -> tuple[str, ...]:
    body = json.dumps({"name": name, "locationId": int(location)})
    return ("send", "--account", "acme", "--method", "POST", "--type", "job", "--body", body)


async def test_a_command_is_sent_performed_and_told_of_and_looked_up(office: Office, site: Site, run: Run) -> None:
    location = await office.an_id("location")
    async with sinking(site):
        code, printed, _ = await run(*creation(location, "first"), "--command-id", "c1", "--not-after", "+10m")
        assert code == 0
        sent, outcome, *_ = printed.splitlines()
        assert sent.startswith("c1 is at ")
        assert "servicetrade.commands[" in sent
        assert outcome.startswith("done: POST job 18")
        assert '"name": "first"' in printed

        again, printed, _ = await run(*creation(location, "first"), "--command-id", "c1", "--json")
        result = json.loads(printed)
        assert (again, result["outcome"], result["command_id"], result["attempts"]) == (0, "done", "c1", 1)
        assert await office.made("first") == 1

        other, printed, _ = await run(*creation(location, "second"), "--command-id", "c1")
        assert (other, printed.splitlines()[1]) == (1, "failed: POST job")
        assert "command id 'c1' was used before, for something else" in printed

        refused, printed, _ = await run("send", "--account", "acme", "--method", "DELETE", "--type", "job", "--id", "7")
        assert (refused, printed.splitlines()[1]) == (1, "failed: DELETE job 7, HTTP 404")

        await office.simulator.fault(**LOST)
        unknown, printed, _ = await run(*creation(location, "third"), "--command-id", "c3")
        assert (unknown, printed.splitlines()[1]) == (1, "uncertain: POST job")
        assert "it may or may not have been performed" in printed

        await office.simulator.fault(**LOST)
        check = '{"params": {"status": "*"}, "equals": {"name": "fourth"}}'
        checked, printed, _ = await run(*creation(location, "fourth"), "--check", check)
        assert checked == 0
        assert printed.splitlines()[1].endswith(", found by its check")

    code, printed, _ = await run("show", "c3", "--account", "acme")
    shown = " ".join(printed.split())
    assert code == 0
    assert "command c3 account acme does POST job state uncertain attempts 1 last sent 20" in shown
    code, printed, _ = await run("show", "c1", "--account", "acme", "--json")
    assert (code, json.loads(printed)["result"]) == (0, result)
    code, printed, complaint = await run("show", "c1", "--account", "bolt")
    assert (code, printed) == (1, "")
    assert "c1: nothing is known" in complaint


async def test_nobody_has_to_wait_and_a_result_that_does_not_come_is_said(office: Office, run: Run) -> None:
    location = await office.an_id("location")
    code, printed, _ = await run(*creation(location, "x"), "--no-wait")
    assert code == 0
    assert len(printed.strip()) == 32
    code, printed, _ = await run(*creation(location, "x"), "--no-wait", "--json", "--command-id", "mine")
    assert (code, json.loads(printed)) == (0, {"command_id": "mine", "account": "acme", "outcome": None})
    code, _, complaint = await run(*creation(location, "x"), "--command-id", "mine", "--timeout", "0.2")
    assert code == 1
    assert "no result within 0.2 s" in complaint
    assert "`tradewind command show mine --account acme`" in complaint


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--account", "zebra"), "zebra: no such account; configured: acme, bolt"),
        (("--type", "clockevent"), "--type: no path is known for entities of type 'clockevent'"),
        (("--body", "{"), "--body: not JSON: "),
        (("--body", "@/nowhere"), "--body: /nowhere cannot be read: No such file or directory"),
        (("--body", "[]"), "not a Command: body is an object with POST and PUT"),
        (("--id", "7"), "not a Command: a POST has no entity_id"),
        (("--command-id", "a b"), "not a Command: id is 'a b'"),
        (("--not-after", "soon"), "--not-after: 'soon' is neither"),
        (("--check", "{}"), "not a Command: "),
    ],
)
async def test_what_makes_no_sense_is_said_before_anything_is_sent(
    site: Site, arguments: tuple[str, str], sentence: str
) -> None:
    options: dict[str, str] = {"--account": "acme", "--method": "POST", "--type": "job", "--body": "{}"}
    options |= {arguments[0]: arguments[1]}
    flat = [text for pair in options.items() for text in pair]
    with pytest.raises(SettingsError) as caught:
        command_app(["send", *flat, "--config", str(site.config)], result_action="return_value")
    assert sentence in str(caught.value)


async def test_a_store_that_is_not_there_is_said_and_not_made(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store\.db is not there"):
        await run("show", "c1", "--account", "acme")
    assert not (tmp_path / "state").exists()


async def test_a_body_comes_from_stdin_or_a_file_and_a_time_from_a_person(
    site: Site, kafka: KafkaSettings, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "body.json").write_text('{"name": "from a file"}')
    update = ("--account", "acme", "--method", "PUT", "--type", "company", "--id", "7", "--no-wait")
    body = f"@{tmp_path / 'body.json'}"
    assert (await run("send", *update, "--body", body, "--not-after", "2999-01-01T08:00+00:00"))[0] == 0
    arguments = ["command", "send", *update, "--body", "-", "--not-after", "+10m", "--config", str(site.config)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", *arguments, stdin=PIPE, stdout=PIPE
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate(b'{"name": "from stdin"}')
    assert process.returncode == 0
    first, second = await commands(kafka)
    assert (first.body, first.not_after) == ({"name": "from a file"}, 32_472_172_800)
    assert (second.body, second.id) == ({"name": "from stdin"}, printed.decode().strip())
    assert 0 < (second.not_after or 0) - time.time() <= 600


async def commands(kafka: KafkaSettings) -> list[Command]:
    """What was sent for one account, in order."""
    async with LogReader.open(kafka, client_id="test") as reader:
        return [
            decode_command(record.value or b"")
            for partition in await reader.partitions(kafka.topic_prefix + COMMANDS.name)
            async for batch in reader.read(partition, 0, await reader.end(partition))
            for record in batch
        ]
