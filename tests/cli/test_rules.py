"""`tradewind rules` as a person uses it: files without a broker, and what is in force on a real one."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.rules import rules_app
from processors.rules import rules_version
from runtime.kafka import KafkaError, Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings
from schemas.encoding import encode
from schemas.errors import SettingsError
from schemas.record import LogRecord, header
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, RULES, WEBHOOKS
from tests.processors.pipeline import (
    ACCOUNT,
    CONFIG,
    FAUST_LEAVES_ITS_LOOP_OPEN,
    TIMES,
    Pipeline,
    collect_quietly,
    group_of,
    job,
    pipeline_on,
    removed_before,
    until,
    working,
)

pytestmark = pytest.mark.anyio

QUIET = "[defaults]\nquiet_s = {}\nceiling_s = 2\n"
EXAMPLE = """
[[examples]]
name = "an edit"
account = "acme"
given = [{ at = 0, type = "job", id = 1, action = "updated", user = 9 }]
expect = [{ type = "job", id = 1, action = "updated" }]
"""
Run = Callable[..., Awaitable[tuple[int, str, str]]]


@dataclass
class Desk:
    """A configuration, a rules file, and what runs commands on them."""

    config: Path
    file: Path
    run: Run

    async def apply(self, text: str, *arguments: str) -> tuple[int, str, str]:
        self.file.write_text(text)
        return await self.run("apply", str(self.file), *arguments)


def iso(moment_ms: int) -> str:
    """The time as --json spells it."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def caught_up(pipeline: Pipeline) -> bool:
    """Whether the worker has committed all that the log holds."""
    ends = {one: await pipeline.reader.end(one) for one in await partitions(pipeline)}
    committed = await committed_offsets(pipeline.kafka, group_of(pipeline.kafka))
    return all(committed.get(partition, 0) == end for partition, end in ends.items())


async def partitions(pipeline: Pipeline) -> list[Partition]:
    return await pipeline.reader.partitions(pipeline.kafka.topic_prefix + WEBHOOKS.name)


def desk_in(
    folder: Path,
    kafka: KafkaSettings,
    capsys: pytest.CaptureFixture[str],
    accounts: Sequence[str] = ("acme", "bolt"),
) -> Desk:
    """A configuration with these accounts."""
    config = folder / "tradewind.toml"
    text = CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, times=TIMES, group=group_of(kafka))
    tables = "".join(ACCOUNT.format(name=name) for name in accounts)
    config.write_text(text + tables.replace('env = "HOOK"', 'file = "hook"'))
    (folder / "hook").write_text("of-no-use-in-this-test")

    def in_a_thread(*arguments: str) -> int:
        code = rules_app([*arguments, "--config", str(config)], result_action="return_value")
        assert isinstance(code, int)
        return code

    async def runner(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(in_a_thread, *arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return Desk(config, folder / "rules.toml", runner)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Without a broker."""
    return desk_in(tmp_path, KafkaSettings(bootstrap_servers="127.0.0.1:1"), capsys)


@dataclass
class Office(Desk):
    """With a broker."""

    pipeline: Pipeline

    async def controls(self) -> list[LogRecord]:
        """The rules in the raw log."""
        return [one for one in await self.pipeline.all(WEBHOOKS.name) if header(one, CONTROL_HEADER) == CONTROL_RULES]

    async def shown(self, *arguments: str) -> dict[str, dict[str, Any]]:
        code, printed, _ = await self.run("show", "--json", *arguments)
        assert code == 0
        return {one["account"]: one for one in map(json.loads, printed.splitlines())}


@pytest.fixture
async def office(kafka: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Office]:
    async with pipeline_on(kafka) as pipeline:
        desk = desk_in(tmp_path, kafka, capsys)
        yield Office(desk.config, desk.file, desk.run, pipeline)


# -- check and test, without a broker ----------------------------------------------------------------------------------


async def test_check_tells_all_that_is_wrong_with_its_line_and_how_much_it_is(desk: Desk) -> None:
    desk.file.write_text("[defaults]\nquite_s = 1\n[accounts.acmee]\n[defaults.types.jobb]\n")
    code, printed, _ = await desk.run("check", str(desk.file))
    assert code == 2
    assert printed.splitlines() == [
        f"{desk.file}:2: error: defaults.quite_s: unknown key; did you mean quiet_s?",
        f"{desk.file}:3: error: accounts.acmee: no such account in the configuration; did you mean acme?",
        f"{desk.file}:4: warning: defaults.types.jobb: no entity type jobb is documented; did you mean job?",
        f"{desk.file} would be refused: 2 errors, 1 warning",
    ]


async def test_check_runs_the_examples_too(desk: Desk) -> None:
    desk.file.write_text(EXAMPLE)
    assert await desk.run("check", str(desk.file)) == (
        0,
        f"1 example passed\n{desk.file} is fine for 2 accounts\n",
        "",
    )
    desk.file.write_text("[defaults]\nignore_users = [9]\n" + EXAMPLE)
    code, printed, _ = await desk.run("check", str(desk.file))
    assert (code, "FAIL" in printed, "is fine" in printed) == (1, True, False)


async def test_a_warning_is_no_reason_to_refuse(desk: Desk) -> None:
    desk.file.write_text("[defaults]\nkeep = false")
    code, printed, _ = await desk.run("check", str(desk.file))
    assert (code, printed.count("warning: ")) == (0, 2)
    assert printed.endswith("is fine for 2 accounts, with 2 warnings\n")


async def test_a_type_that_the_configuration_knows_is_none_to_warn_of(desk: Desk) -> None:
    desk.config.write_text(desk.config.read_text() + "[servicetrade.types.boiler]\npath = '/boiler'\n")
    desk.file.write_text("[defaults.types.boiler]\nkeep = false")
    assert "warning" not in (await desk.run("check", str(desk.file)))[1]


async def test_test_shows_what_was_expected_what_came_and_what_filtered_it(desk: Desk) -> None:
    desk.file.write_text("[defaults]\nignore_users = [9]\n" + EXAMPLE + EXAMPLE.replace("user = 9", "user = 8"))
    code, printed, _ = await desk.run("test", str(desk.file))
    assert code == 1
    assert [line.strip() for line in printed.splitlines()] == [
        f"FAIL  {desk.file}:4: an edit (acme)",
        "job/1: change",
        "expected  action updated",
        "got       nothing",
        "given",
        "0.000 s  job/1 updated by 9: filtered: default.ignore_users holds 9",
        "got no change",
        f"pass  {desk.file}:10: an edit (acme)",
        "1 example passed, 1 failed",
    ]


async def test_test_of_a_file_without_examples_fails_and_of_a_wrong_one_is_refused(desk: Desk) -> None:
    desk.file.write_text("")
    assert await desk.run("test", str(desk.file)) == (1, "", f"{desk.file} has no [[examples]]\n")
    desk.file.write_text("x = 1")
    with pytest.raises(SettingsError, match="x: unknown key"):
        await desk.run("test", str(desk.file))


async def test_what_a_terminal_would_obey_is_not_sent_to_it(desk: Desk) -> None:
    desk.file.write_text('[[examples]]\nname = "\\u001b[31m [bold]"\naccount = "acme"\ngiven = []\nexpect = []\n')
    _, printed, _ = await desk.run("test", str(desk.file))
    assert "\x1b" not in printed
    assert "[bold]" in printed


# -- apply -------------------------------------------------------------------------------------------------------------


async def test_apply_says_per_account_the_version_and_from_which_position(office: Office) -> None:
    code, printed, _ = await office.apply(QUIET.format(0.5))
    assert code == 0
    records = await office.controls()
    assert sorted(record.key or b"" for record in records) == [b"acme", b"bolt"]
    at = {
        (record.key or b"").decode(): f"{record.topic}[{record.partition}] offset {record.offset}" for record in records
    }
    version = rules_version(json.loads(records[0].value or b""))
    assert sorted(printed.splitlines()) == [
        f"{account}: rules {version} from {at[account]} on, after the built-in defaults" for account in ("acme", "bolt")
    ]


async def test_only_accounts_whose_rules_differ_get_new_ones_though_the_processors_have_reached_none(
    office: Office,
) -> None:
    await office.apply(QUIET.format(0.5))
    before = await office.controls()
    _, printed, _ = await office.apply(QUIET.format(0.5))
    assert [line.split(": ")[1].split(",")[0] for line in printed.splitlines()] == ["unchanged"] * 2
    assert printed.count("where the processors have yet to come") == 2
    assert await office.controls() == before
    _, printed, _ = await office.apply(QUIET.format(0.5) + "[accounts.bolt]\nkeep = true\nquiet_s = 0.6")
    assert [line.split(": ")[0] for line in printed.splitlines() if "after rules" in line] == ["bolt"]
    assert len(await office.controls()) == len(before) + 1


async def test_rules_that_say_what_is_built_in_close_no_windows(office: Office) -> None:
    code, printed, _ = await office.apply("")
    assert (code, printed.count("unchanged, the built-in defaults are what the file says")) == (0, 2)
    assert await office.controls() == []
    await office.apply(QUIET.format(0.5))
    assert "unchanged" not in (await office.apply(""))[1]


async def test_what_the_core_would_not_take_for_rules_is_not_in_force(office: Office) -> None:
    await office.apply(QUIET.format(0.5))
    await office.pipeline.raw(b"acme", b'{"default": 7}', (CONTROL_HEADER, CONTROL_RULES))
    rules = json.loads((await office.controls())[0].value or b"")
    to_others = (CONTROL_HEADER, CONTROL_RULES), ("x-redrive-to", b"mirror")
    await office.pipeline.raw(b"acme", encode({**rules, "types": {"job": {}}}), *to_others)
    assert (await office.apply(QUIET.format(0.5)))[1].count("unchanged") == 2


async def test_apply_can_be_restricted_to_accounts(office: Office) -> None:
    await office.apply(QUIET.format(0.5), "--account", "bolt")
    assert [record.key for record in await office.controls()] == [b"bolt"]
    with pytest.raises(SettingsError, match="no account 'bolr' in the configuration; did you mean bolt"):
        await office.apply("", "--account", "bolr")


async def test_a_bad_file_and_failing_examples_leave_everything_as_it_was(office: Office) -> None:
    code, printed, told = await office.apply("[defaults]\nquiet = 3")
    assert (code, printed) == (2, "")
    assert told.splitlines() == [
        f"{office.file}:2: error: defaults.quiet: unknown key; did you mean quiet_s?",
        f"{office.file} is refused, and nothing was applied: 1 error",
    ]
    code, printed, told = await office.apply("[defaults]\nkeep = false\n" + EXAMPLE, "--yes")
    assert (code, printed, told.endswith("nothing was applied\n")) == (1, "", True)
    assert await office.controls() == []


async def test_rules_that_filter_everything_need_a_yes(office: Office) -> None:
    text = "[accounts.bolt]\nkeep = false"
    with pytest.raises(SettingsError, match=r"filter everything of bolt: .* There is no terminal to ask on: say --yes"):
        await office.apply(text)
    assert await office.controls() == []
    await office.apply(text, "--account", "acme")
    assert (await office.apply(text, "--yes"))[0] == 0
    assert [record.key for record in await office.controls()] == [b"bolt"]
    assert (await office.apply(text))[0] == 0  # it is so already: there is nothing to ask


@pytest.mark.parametrize(("answer", "code", "applied"), [(b"y\n", 0, 2), (b"\x04", 1, 0)])
async def test_on_a_terminal_a_person_is_asked(office: Office, answer: bytes, code: int, applied: int) -> None:
    office.file.write_text("[defaults]\nkeep = false")
    ours, theirs = pty.openpty()
    command = ("-W", "error", "-m", "cli.main", "rules", "apply", str(office.file), "--config", str(office.config))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=theirs, stdout=PIPE, stderr=theirs)
    os.close(theirs)
    said = bytearray()

    def listen() -> None:
        """The terminal is gone when the process is."""
        with suppress(OSError):
            while seen := os.read(ours, 1024):
                asked = b"Apply them?" in said
                said.extend(seen)
                if not asked and b"Apply them?" in said:
                    os.write(ours, answer)

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(asyncio.to_thread(listen), process.wait())
    finally:
        if process.returncode is None:
            process.kill()
        os.close(ours)
    assert b"filter everything of acme, bolt" in b" ".join(said.split())
    assert (process.returncode, len(await office.controls())) == (code, applied)


async def test_without_topics_it_is_said_what_to_run(
    kafka: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = desk_in(tmp_path, kafka, capsys)
    desk.file.write_text(QUIET.format(0.5))
    for arguments in (("apply", str(desk.file)), ("show",), ("history",)):
        with pytest.raises(KafkaError, match=r"there is no topic .*servicetrade\.webhooks: run `tradewind topics`"):
            await desk.run(*arguments)


# -- show and history --------------------------------------------------------------------------------------------------


async def test_before_any_rules_the_built_in_defaults_are_shown_as_such(office: Office) -> None:
    code, printed, _ = await office.run("show")
    assert code == 0
    assert [line.strip() for line in printed.splitlines()][:3] == [
        "acme",
        "built-in defaults: no rules were applied",
        "every type      kept; all actions; all fields; whoever did it; quiet 2 s; ceiling 2 s",
    ]
    shown = (await office.shown())["acme"]
    assert (shown["version"], shown["builtin"], shown["offset"], shown["waiting"]) == ("builtin", True, None, [])
    assert (await office.run("history"))[1].splitlines() == [
        *("acme", "  the built-in defaults, ever since"),
        *("bolt", "  the built-in defaults, ever since"),
    ]


async def test_what_the_processors_have_not_reached_is_shown_as_waiting(office: Office) -> None:
    await office.apply(QUIET.format(0.5), "--account", "acme")
    await office.apply(QUIET.format(0.7), "--account", "acme")
    shown = (await office.shown())["acme"]
    assert shown["builtin"]
    assert [one["rules"]["default"]["quiet_ms"] for one in shown["waiting"]] == [500, 700]
    assert [one["reached"] for one in shown["waiting"]] == [False, False]
    code, printed, _ = await office.run("show", "--account", "acme")
    assert (code, printed.count("waiting: rules")) == (0, 2)
    assert "built-in defaults: no rules were applied yet" in printed
    assert "every type      quiet 0.7 s (was: quiet 0.5 s)" in printed
    assert "the processors have yet to reach them: they have not begun" in printed


@FAUST_LEAVES_ITS_LOOP_OPEN
async def test_when_the_processors_have_reached_them_rules_are_in_force_since_their_position(office: Office) -> None:
    pipeline = office.pipeline
    async with working(pipeline.kafka):
        await pipeline.post("acme", job(1))
        await office.apply(
            QUIET.format(0.5) + "[accounts.acme]\nignore_users = [9]\n[defaults.types.job]\nfields = ['a']"
        )
        await until(lambda: caught_up(pipeline))
        first = (await office.shown())["acme"]
        (record,) = [one for one in await office.controls() if one.key == b"acme"]
        assert (first["offset"], first["partition"], first["waiting"]) == (record.offset, record.partition, [])
        assert (first["since"], first["exact"]) == (iso(record.timestamp), True)
        assert first["rules"] == json.loads(record.value or b"")
        printed = (await office.run("show", "--account", "acme"))[1]
        assert f"rules {first['version']}, since " in printed
        assert "    job             fields a" in printed
        assert (await office.apply(QUIET.format(0.7)))[0] == 0
        await until(lambda: caught_up(pipeline))
    collect_quietly()
    now = await office.shown()
    assert {name: one["rules"]["default"]["quiet_ms"] for name, one in now.items()} == {"acme": 700, "bolt": 700}
    # As they were then: from the moment of its append on, a version holds.
    at = {name: await office.shown("--at", at) for name, at in (("then", first["since"]), ("before", iso(0)))}
    assert (at["then"]["acme"]["version"], at["before"]["acme"]["builtin"]) == (first["version"], True)
    code, printed, _ = await office.run("history", "--json", "--account", "acme")
    assert code == 0
    versions = [json.loads(line)["version"] for line in printed.splitlines()]
    assert versions == [first["version"], now["acme"]["version"]]
    printed = (await office.run("history", "--account", "acme"))[1]
    assert "every type      whoever did it (was: not what users 9 did); quiet 0.7 s (was: quiet 0.5 s)" in printed
    assert "job             no rule of its own any more" in printed
    # What retention removes from the log stays known, by the time of its copy.
    await removed_before(pipeline.kafka, (await partitions(pipeline))[record.partition], now["acme"]["offset"])
    printed = (await office.run("history", "--account", "acme"))[1]
    assert printed.count("since about") == 1
    again = await office.shown("--at", now["acme"]["since"], "--account", "acme")
    assert again["acme"]["version"] == now["acme"]["version"]


async def test_accounts_and_times_that_are_none_are_refused(office: Office) -> None:
    for arguments, told in (
        (("show", "--account", "bol"), "no account 'bol' is configured, nor ever had rules; did you mean bolt?"),
        (("history", "--account", "zz"), "no account 'zz' is configured, nor ever had rules; there are: acme, bolt"),
        (("show", "--at", "noon"), "--at: 'noon' is no time"),
        (("show", "--at", "2999-01-01"), "--at: 2999-01-01 lies ahead"),
    ):
        with pytest.raises(SettingsError) as refused:
            await office.run(*arguments)
        assert told in str(refused.value)


async def test_an_account_that_is_no_longer_configured_is_shown_with_its_rules(office: Office) -> None:
    topic = office.pipeline.kafka.topic_prefix + RULES.name
    rules = {"default": {"keep": False}, "types": {}}
    entry = {"account": "gone", "version": "v", "topic": topic, "partition": 0, "offset": 5, "rules": rules}
    sent = await office.pipeline.producer.send(topic, key=b"gone", value=encode(entry))
    await sent
    sent = await office.pipeline.producer.send(topic, key=b"x", value=b"no rules")
    await sent
    code, printed, told = await office.run("history")
    assert (code, "gone (not in the configuration)" in printed) == (0, True)
    assert "1 records on tradewind.rules are no rules of ours: see `tradewind audit`" in told
