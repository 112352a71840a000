"""`tradewind story` on a real broker: everything that the topics hold about one entity, and nothing else."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from cli.main import app
from processors.consolidator import Consolidator, Outcome
from processors.window import Origin
from rules.apply import apply_rules
from runtime.kafka import LogReader, Position, Producer, acknowledged, partition_of
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings, Settings
from schemas.change import EntityChange, change_record
from schemas.command import Command, CommandResult
from schemas.deadletter import DeadLetter, Resolution
from schemas.delivery import Delivery
from schemas.encoding import encode
from schemas.errors import SettingsError
from schemas.pipeline import PipelineTimes
from schemas.topics import (
    CHANGES,
    COMMANDS,
    CONTROL_HEADER,
    CONTROL_TICK,
    DEADLETTERS,
    DELIVERIES,
    RESULTS,
    RULES,
    WEBHOOKS,
    Topic,
)
from tests.processors.pipeline import CONFIG, job, removed_before, settings_on, until
from views.story import StoryReader, read_story
from views.story_entity import Entity
from views.story_event import Event, Story
from views.story_judged import SLACK_MS

pytestmark = pytest.mark.anyio

TIMES = PipelineTimes(horizon_s=120, memory_s=180, max_ceiling_s=2)
"""A repeat is one however slow the machine is."""
JOB = Entity(account="acme", type="job", id="7")
QUICK = {
    "default": {"quiet_ms": 300, "ceiling_ms": 900},
    "types": {"job": {"quiet_ms": 300, "ceiling_ms": 900, "ignore_users": [5]}},
}
Run = Callable[..., Awaitable[tuple[int, str, str]]]


@dataclass(slots=True)
class Office:
    """The topics of one test, and who writes to them as the pipeline does."""

    kafka: KafkaSettings
    settings: Settings
    producer: Producer
    reader: LogReader
    sent: int = 0

    async def send(self, topic: Topic, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> Position:
        name = self.kafka.topic_prefix + topic.name
        return await acknowledged(await self.producer.send(name, key=key, value=value, headers=headers))

    async def post(self, *elements: Any, account: str = "acme", message_id: str | None = None) -> Position:
        self.sent += 1
        body = {"messageId": message_id or f"m-{self.sent}", "data": list(elements)}
        return await self.send(WEBHOOKS, account.encode(), json.dumps(body).encode())

    async def consolidate(self) -> Outcome:
        """Let all windows of acme close, and send what the processors would make of its partition."""
        tick = ((CONTROL_HEADER, CONTROL_TICK),)
        async with asyncio.timeout(30):
            while True:
                position = await self.send(WEBHOOKS, b"acme", b"", tick)
                partition, end = position.partition, position.offset + 1
                core = Consolidator(Origin(partition.topic, partition.number, 1), TIMES)
                outcome = Outcome()
                async for batch in self.reader.read(partition, 0, end):
                    found = core.feed(batch)
                    outcome.changes += found.changes
                    outcome.dead_letters += found.dead_letters
                    outcome.rules += found.rules
                if not core.open_windows:
                    break
                await asyncio.sleep(0.05)
        for change in outcome.changes:
            await self.send(CHANGES, *change_record(change))
        for record, letter in outcome.dead_letters:
            await self.send(DEADLETTERS, record.key or b"", record.value or b"", letter.headers())
        for entry in outcome.rules:
            await self.send(RULES, entry.account.encode(), encode(entry))
        return outcome

    async def tell(self, change: EntityChange, sink: str = "mirror", *, at_ms: int | None = None, **more: Any) -> None:
        """Write what became of a change at a sink, now or at a time of its own."""
        told = Delivery(
            change_id=change.id,
            sequence=change.sequence,
            account=change.account,
            entity_type=change.entity_type,
            entity_id=change.entity_id,
            sink=sink,
            **{"outcome": "delivered", "reason": "", "attempts": 1, "latency_ms": 12, **more},
        )
        if at_ms is None:
            await self.send(DELIVERIES, change.key.encode(), encode(told))
            return
        async with AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap_servers) as producer:
            partitions = await self.reader.partitions(self.kafka.topic_prefix + DELIVERIES.name)
            home = partition_of(change.key.encode(), [one.number for one in partitions])
            topic, key = partitions[0].topic, change.key.encode()
            await producer.send_and_wait(topic, encode(told), key, home, timestamp_ms=at_ms)

    async def bury(self, change: EntityChange, stage: str) -> Position:
        """Write a sink's dead letter."""
        letter = DeadLetter(
            topic="c",
            partition=0,
            offset=1,
            stage=stage,
            error="Reject",
            message="gone",
            attempts=3,
            first_failure_ms=1,
            last_failure_ms=2,
        )
        return await self.send(DEADLETTERS, change.key.encode(), encode(change), letter.headers())

    async def story(self, *, since_ms: int | None = None, until_ms: int | None = None) -> Story:
        return await read_story(self.settings, "acme", "Job", "007", since_ms=since_ms, until_ms=until_ms)


@asynccontextmanager
async def open_office(kafka: KafkaSettings) -> AsyncIterator[Office]:
    few = [replace(topic, partitions=2) for topic in (WEBHOOKS, CHANGES, DELIVERIES, DEADLETTERS, COMMANDS, RESULTS)]
    await ensure_topics(kafka, [*few, RULES])
    async with Producer.open(kafka, client_id="test") as producer, LogReader.open(kafka, client_id="test") as reader:
        yield Office(kafka, replace(settings_on(kafka), pipeline=TIMES), producer, reader)


@pytest.fixture
async def office(kafka: KafkaSettings) -> AsyncIterator[Office]:
    async with open_office(kafka) as opened:
        yield opened


@pytest.fixture
def config(kafka: KafkaSettings, tmp_path: Path) -> Path:
    text = CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, times=TIMES, group="g")
    accounts = '[accounts.acme]\nusername = "u"\npassword = {file = "s"}\nhook_secret = {file = "s"}\n'
    (tmp_path / "s").write_text("of-no-use-in-this-test")
    (tmp_path / "t.toml").write_text(text + accounts)
    return tmp_path / "t.toml"


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tradewind story ...`; returns the exit code, and what it printed on stdout and stderr."""

    def in_a_thread(*arguments: str) -> int:
        code = app(["story", *arguments, "--config", str(config)], result_action="return_value")
        assert isinstance(code, int)
        return code

    async def runner(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(in_a_thread, *arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return runner


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def texts(events: Sequence[Event], kind: str) -> list[str]:
    return [event.text for event in events if event.kind == kind]


async def test_a_story_holds_everything_from_the_webhook_to_the_redriven_dead_letter(office: Office) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    changed = {"field": "status", "oldValue": "new", "newValue": "done"}
    await office.post(job(7, changeset=changed, userId=3), job(8))
    await office.post(job(7, userId=5))
    await office.post(job(7, changeset=changed, userId=3), job(8), message_id="m-1")
    await office.post(job(7, action="renamed"))
    outcome = await office.consolidate()
    (change,) = [change for change in outcome.changes if change.key == JOB.key]
    await office.tell(change, attempts=2)
    await office.tell(change, "forward/crm", outcome="dead-lettered", reason="gone", attempts=3)
    letter = await office.bury(change, "forward/crm")
    place = f"{letter.partition.number}:{letter.offset}"
    found = await office.story()
    assert place in found.open_letters
    done = Resolution(what="redriven", offset=letter.offset)
    await office.producer.send(
        letter.partition.topic,
        key=JOB.key.encode(),
        value=b"",
        headers=done.headers(),
        partition=letter.partition.number,
    )
    await office.send(
        CHANGES, *change_record(change)[:2], [*change_record(change)[2], ("x-redrive-to", b"forward/crm")]
    )

    async def is_told() -> bool:
        return place not in (await office.story()).open_letters

    await until(is_told)
    found = await office.story()
    verdicts = [event.facts["verdict"] for event in found.events if event.kind == "webhook"]
    assert verdicts == ["opened", "filtered", "repeat", "quarantined"]
    assert texts(found.events, "webhook")[0].startswith('opens a window: updated by user 3, status "new" → "done"')
    assert "types.job.ignore_users holds 5" in texts(found.events, "webhook")[1]
    (window,) = texts(found.events, "window")
    assert "silent for the quiet period, 300 ms after it opened: 1 notification become" in window
    first, again = texts(found.events, "change")
    assert first == f'{change.id[:8]} updated: status "new" → "done"'
    assert again.endswith("redriven to forward/crm")
    assert texts(found.events, "delivery") == [
        f"mirror delivered {change.id[:8]}; 2 attempts; 12 ms after the change",
        f"forward/crm dead-lettered {change.id[:8]}: gone; 3 attempts; 12 ms after the change",
    ]
    assert any(
        text.startswith(f"{place} given up by forward/crm after 3 attempts: gone")
        for text in texts(found.events, "dead letter")
    )
    assert any("given up by processors" in text and "bad-action" in text for text in texts(found.events, "dead letter"))
    assert texts(found.events, "resolution") == [f"dead letter {place} redriven"]
    assert kinds(found.events)[0] == "rules"
    assert (found.judged.missing, found.judged.waiting, found.window_open) == ((), (), False)


async def test_commands_and_results_are_told_also_of_what_created_the_entity(office: Office) -> None:
    common: dict[str, Any] = {"account": "acme", "entity_type": "job"}
    for command in (
        Command(id="c-1", method="POST", body={"name": "x"}, **common),
        Command(id="c-2", method="PUT", entity_id="7", body={"status": "done"}, **common),
        Command(id="c-3", method="PUT", entity_id="8", body={}, **common),
    ):
        await office.send(COMMANDS, b"acme", encode(command))
    told = {"status": None, "messages": (), "entity": None, "checked": False, "attempts": 1, "latency_ms": 5, **common}
    for number, (name, method, outcome) in enumerate((("c-1", "POST", "done"), ("c-2", "PUT", "failed"))):
        result = CommandResult(**{**told, "command_id": name, "method": method, "entity_id": "7", "outcome": outcome})
        await office.send(RESULTS, b"acme", encode(replace(result, messages=("no",) * number)))
    found = await office.story()
    assert texts(found.events, "command") == ["c-1: POST name", "c-2: PUT status"]
    assert texts(found.events, "result") == ["c-1: POST done", "c-2: PUT failed: no"]


async def test_since_and_until_hide_what_is_outside_and_change_no_verdict(office: Office) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    for _ in range(3):
        await office.post(job(7))
        await office.post(job(7), message_id="m-1")
        await office.consolidate()
    whole = await office.story()
    log_kinds = {"webhook", "window", "rules"}
    for event in whole.events[::3]:
        late = await office.story(since_ms=event.at_ms)
        early = await office.story(until_ms=event.at_ms)
        want = [one.as_json() for one in whole.events if one.kind in log_kinds and one.at_ms >= event.at_ms]
        rest = [one.as_json() for one in whole.events if one.kind in log_kinds and one.at_ms < event.at_ms]
        found = [one.as_json() for one in late.events if one.kind in log_kinds]
        # What it repeats may lie before the stretch that the state depends on, but here it does not.
        assert found == want
        assert [one.as_json() for one in early.events if one.kind in log_kinds] == rest


async def test_what_the_processors_have_not_sent_and_what_no_sink_has_told_of_is_said(office: Office) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    await office.post(job(7))
    (change,) = (await office.consolidate()).changes
    found = await office.story()
    assert (found.judged.missing, found.judged.waiting) == ((), (change.id,))
    await office.post(job(7))
    found = await office.story()
    assert found.window_open
    await office.send(WEBHOOKS, b"acme", json.dumps(QUICK).encode(), ((CONTROL_HEADER, b"rules"),))
    found = await office.story()
    assert not found.window_open
    assert len(found.judged.missing) == 1


async def test_without_a_trace_others_of_the_same_id_are_named(office: Office) -> None:
    await apply_rules(office.kafka, {"acme": QUICK, "bolt": QUICK})
    await office.post({**job(7), "entity": {"type": "quote", "id": 7}})
    change = replace((await office.consolidate()).changes[0], account="bolt", entity_type="job")
    await office.send(CHANGES, *change_record(change))
    found = await office.story()
    assert not found.has_trace
    assert found.near == ("acme/quote/7", "bolt/job/7")


async def test_what_comes_later_is_read_from_where_reading_ended(office: Office) -> None:
    await office.post(job(7))
    async with StoryReader.open(office.settings, JOB) as reader:
        assert kinds(await reader.catch_up()) == ["webhook"]
        assert await reader.catch_up() == []
        await office.post(job(7))
        assert [event.facts["message_id"] for event in await reader.catch_up() if event.kind == "webhook"] == ["m-2"]


async def test_windows_whose_changes_retention_has_removed_are_not_called_missing(office: Office) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    for _ in range(2):
        await office.post(job(7))
        outcome = await office.consolidate()
    assert len(outcome.changes) == 2
    for partition in await office.reader.partitions(office.kafka.topic_prefix + CHANGES.name):
        if end := await office.reader.end(partition):
            await removed_before(office.kafka, partition, end)
    found = (await office.story()).judged
    assert (found.missing, found.windows_unjudged) == ((), 2)


async def test_an_outcome_that_came_after_the_end_is_not_called_missing(office: Office) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    await office.post(job(7))
    (change,) = (await office.consolidate()).changes
    until_ms = time.time_ns() // 1_000_000 + 1
    late_ms = until_ms + SLACK_MS + 1
    await office.tell(change, at_ms=late_ms)
    found = (await office.story(until_ms=until_ms)).judged
    assert (found.waiting, found.told_by_ms) == ((change.id,), until_ms + SLACK_MS)
    found = (await office.story()).judged
    assert (found.waiting, found.told_by_ms) == ((), None)


async def test_records_on_the_rules_topic_that_are_no_rules_are_passed_over_and_told(office: Office, run: Run) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    for junk in (b"junk", b"[]", b"null", encode({"account": "acme"})):
        await office.send(RULES, b"acme", junk)
    await office.post(job(7))
    code, printed, _ = await run("job/7", "--account", "acme")
    assert code == 0
    assert "4 records on tradewind.rules passed over: no rules are in it" in printed


async def test_rules_that_this_configuration_does_not_allow_are_told_in_a_sentence(office: Office) -> None:
    position = await office.post(job(8))
    rules = {"default": {"quiet_ms": 300, "ceiling_ms": 900_000}, "types": {}}
    at = {"topic": position.partition.topic, "partition": position.partition.number, "offset": -1}
    await office.send(RULES, b"acme", encode({"account": "acme", "version": "1", "rules": rules, **at}))
    with pytest.raises(SettingsError, match=r"rules of acme that are none here: .*<= 2000 does not hold"):
        await office.story()


async def test_a_sinks_name_from_outside_does_nothing_to_the_terminal(office: Office, run: Run) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    await office.post(job(7))
    await office.tell((await office.consolidate()).changes[0], "\x1b[2J\u202e")
    _, printed, _ = await run("job/7", "--account", "acme")
    assert "\\x1b[2J\\u202e: 1 delivered" in printed
    assert not {"\x1b", "\u202e"} & set(printed)


# -- the command ---------------------------------------------------------------------------------------------------


async def test_the_command_prints_a_line_for_each_event_and_what_stands_out(office: Office, run: Run) -> None:
    await apply_rules(office.kafka, {"acme": QUICK})
    await office.post(job(7, userId=3))
    change = (await office.consolidate()).changes[0]
    await office.tell(change)
    code, printed, _ = await run("JOB/7", "--account", "acme")
    assert code == 0
    lines = printed.splitlines()
    assert lines[0].startswith("job/7 of acme: read from ")
    shown = [line[15:26].split() for line in lines[3:] if line]
    assert [words[0] for words in shown[:5]] == ["rules", "webhook", "window", "change", "delivery"]
    assert "1 notification: 1 kept; 1 change" in lines
    assert "mirror: 1 delivered" in lines


async def test_json_is_a_line_for_each_event(office: Office, run: Run) -> None:
    await office.post(job(7))
    code, printed, _ = await run("job/7", "--account", "acme", "--json")
    (event,) = [json.loads(line) for line in printed.splitlines()]
    assert (code, event["kind"], event["verdict"], event["partition"] in (0, 1)) == (0, "webhook", "opened", True)


async def test_an_entity_without_a_trace_is_an_exit_code_and_a_sentence(office: Office, run: Run) -> None:
    await office.post({**job(7), "entity": {"type": "quote", "id": 7}})
    code, _, said = await run("job/7", "--account", "acme")
    assert code == 1
    assert "there is no trace of job/7 of acme" in said
    assert "there is something of acme/quote/7" in said
    code, _, said = await run("jobb/7", "--account", "acme")
    assert "did you mean job/7?" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("job", "--account", "acme"), "an entity is written type/id, as in job/123"),
        (("job/x", "--account", "acme"), "an entity is written type/id, as in job/123"),
        (("job/7", "--account", "acm"), "did you mean acme?"),
        (("job/7", "--account", "acme", "--since", "soon"), "--since: 'soon' is no time"),
        (("job/7", "--account", "acme", "--since", "2999-01-01"), "--since: 2999-01-01 lies ahead"),
        (("job/7", "--account", "acme", "--since", "1h", "--until", "2h"), "is not after --since"),
        (("job/7", "--account", "acme", "--follow", "--until", "1h"), "leave one out"),
    ],
)
async def test_what_cannot_be_told_is_refused_with_a_sentence(
    office: Office, run: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    await office.post(job(8))
    with pytest.raises(SettingsError, match=sentence.replace("?", r"\?")):
        await run(*arguments)


async def test_following_goes_on_with_what_comes_until_ctrl_c_which_is_no_failure(
    office: Office, config: Path, tmp_path: Path
) -> None:
    await office.post(job(7))
    command = ["-m", "cli.main", "story", "job/7", "--account", "acme", "--json", "--follow", "--config", str(config)]
    with (tmp_path / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, stderr=said)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            first = await next_webhook(process.stdout)
            await office.post(job(7))
            second = await next_webhook(process.stdout)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert [first["message_id"], second["message_id"]] == ["m-1", "m-2"]


async def next_webhook(lines: asyncio.StreamReader) -> Any:
    """The next event of that kind; its window may close before."""
    while True:
        event = json.loads(await lines.readline())
        if event["kind"] == "webhook":
            return event
