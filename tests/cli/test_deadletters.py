"""`tradewind deadletters` on a real broker, as an operator uses it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.deadletters import deadletters_app
from runtime.database import open_database
from runtime.kafka import KafkaError
from runtime.settings import KafkaSettings, read_settings
from runtime.store_schema import upgrade
from schemas.deadletter import is_resolution, read_resolution
from schemas.errors import SettingsError
from schemas.record import LogRecord
from schemas.topics import CHANGES, COMMANDS, DEADLETTERS, WEBHOOKS
from sinks.letters import LetterId, read_letter_id
from sinks.open_letters import OpenLetters
from tests.sinks.letter_making import Office, open_office

pytestmark = pytest.mark.anyio

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
[sinks.forward.crm]
url = "https://crm.example.com/hook"
secret = {{ file = "signing" }}
"""

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def office(kafka: KafkaSettings) -> AsyncIterator[Office]:
    async with open_office(kafka) as opened:
        yield opened


@pytest.fixture
def config(kafka: KafkaSettings, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("of-no-use-in-this-test")
    (tmp_path / "signing").write_text("whsec_" + "A" * 32)
    (tmp_path / "tradewind.toml").write_text(CONFIG.format(kafka=kafka, folder=tmp_path))
    return tmp_path / "tradewind.toml"


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tradewind deadletters ...`; returns the exit code, and what it printed on stdout and stderr."""

    def in_a_thread(*arguments: str) -> int:
        code = deadletters_app([*arguments, "--config", str(config)], result_action="return_value")
        assert isinstance(code, int)
        return code

    async def runner(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(in_a_thread, *arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return runner


def listed(printed: str) -> list[str]:
    """The letters of a table, by their names, in order."""
    return [line.split()[0] for line in printed.splitlines()[1:]]


async def resolutions(office: Office) -> dict[str, tuple[str, str]]:
    """What was done about each letter, and why."""
    found = [record for record in await office.records(DEADLETTERS) if is_resolution(record)]
    assert all(record.value in (b"", None) for record in found)
    read = [(record.partition, read_resolution(record)) for record in found]
    return {f"{partition}:{one.offset}": (one.what, one.reason) for partition, one in read}


async def by_time(office: Office) -> list[str]:
    """All letters, the latest last; two of the same millisecond by their places."""
    records = sorted(await office.records(DEADLETTERS), key=lambda one: (one.timestamp, one.partition, one.offset))
    return [f"{record.partition}:{record.offset}" for record in records]


# -- looking -------------------------------------------------------------------------------------------------------


async def test_open_letters_are_listed_the_latest_last_each_in_a_line(office: Office, run: Run) -> None:
    assert await run("list") == (0, "", "there is no open dead letter\n")
    first = await office.bury(key=b"acme/job/1")
    second = await office.bury(key=b"bolt/job/2", stage="forward/crm", error="Gone", message="x" * 400, redrives=3)
    third = await office.bury(of=WEBHOOKS, key=b"acme", value=b"\xff", stage="processors", error="not-json")
    code, printed, _ = await run("list")
    assert code == 0
    assert listed(printed) == await by_time(office)
    assert set(listed(printed)) == {str(first), str(second), str(third)}
    head, *rows = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    assert head[:3] == ["letter", "last failure (UTC)", "sink"]
    failed = f"{datetime.fromtimestamp(1_700_000_060, UTC):%Y-%m-%d %H:%M:%S}"
    (shown,) = [line for line in printed.splitlines() if line.startswith(f"{first} ")]
    assert shown.replace(failed, "THEN").split() == [
        *(str(first), "THEN", "mirror", "acme", "job/1", "Reject", "2", "-", "no", "permission")
    ]
    assert max(len(row[-1]) for row in rows) == 100


async def test_letters_are_chosen_by_filters_that_hold_together(office: Office, run: Run) -> None:
    job = await office.bury(key=b"acme/job/1", last_failure_ms=1_700_000_000_000)
    crm = await office.bury(
        key=b"bolt/location/7", stage="forward/crm", error="Gone", last_failure_ms=1_800_000_000_000
    )
    body = json.dumps({"data": [{"entity": {"type": "Job", "id": 1}}, {"entity": {"type": "asset", "id": 5}}]}).encode()
    webhook = await office.bury(of=WEBHOOKS, key=b"acme", value=body, stage="processors", elements="1")

    async def chosen(*arguments: str) -> set[str]:
        code, printed, said = await run("list", *arguments)
        assert code == (0 if printed else 1)
        assert said == ("" if printed else "tradewind: no open dead letter is like that\n")
        return set(listed(printed))

    assert await chosen("--sink", "mirror") == await chosen("--stage", "mirror") == {str(job)}
    assert await chosen("--sink", "forward") == await chosen("--sink", "forward/crm") == {str(crm)}
    assert await chosen("--account", "acme") == {str(job), str(webhook)}
    assert await chosen("--type", "job") == await chosen("--entity", "job/1") == {str(job)}
    assert await chosen("--entity", "asset/5") == await chosen("--type", "Asset") == {str(webhook)}
    assert await chosen("--error", "Gone") == {str(crm)}
    assert await chosen("--since", "2026-01-01") == {str(crm)}
    assert await chosen("--until", "2026-01-01", "--account", "acme", "--sink", "mirror") == {str(job)}
    assert await chosen("--account", "acme", "--error", "Gone") == set()
    assert await chosen("--account", "nobody") == set()


async def test_lines_of_json_name_all_letters_and_a_table_the_latest(office: Office, run: Run) -> None:
    for number in range(105):
        await office.bury(key=f"acme/job/{number}".encode(), message=str(number))
    ids = await by_time(office)
    code, printed, said = await run("list")
    assert (code, said) == (0, "the latest 100 of 105: --limit shows more\n")
    assert listed(printed) == ids[5:]
    _, printed, said = await run("list", "--limit", "2")
    assert listed(printed) == ids[-2:]
    _, printed, said = await run("list", "--json")
    told = [json.loads(line) for line in printed.splitlines()]
    assert said == ""
    assert [one["letter"] for one in told] == sorted(ids, key=read_letter_id)
    assert {one["message"] for one in told} == {str(number) for number in range(105)}
    assert {one["state"] for one in told} == {"open"}
    _, printed, said = await run("list", "--json", "--limit", "3")
    assert {json.loads(line)["letter"] for line in printed.splitlines()} == set(ids[-3:])


async def test_a_letter_is_shown_with_all_that_is_known_and_its_bytes(office: Office, run: Run) -> None:
    value = b'{"id":1,"note":"\xc3\xbc\\u001b[31m"}'
    letter = await office.bury(
        value=value, headers=[("ce_id", b"\xff[b]"), ("ce_type", b"job")], message="no [red]permission", attempts=7
    )
    code, printed, _ = await run("show", str(letter))
    assert code == 0
    told = dict(line.split(maxsplit=1) for line in printed.splitlines() if re.match(r"[a-z]+ +\S", line))
    assert (told["letter"], told["state"], told["stage"], told["account"]) == (str(letter), "open", "mirror", "acme")
    assert (told["message"], told["attempts"], told["error"]) == ("no [red]permission", "7", "Reject")
    assert told["original"] == f"{office.name(CHANGES)}[3] offset 55"
    assert "header        ce_id: \\xff[b]\n" in printed
    assert f"`tradewind deadletters redrive {letter}` sends it to mirror, and to nobody else" in printed
    assert re.search(r"first failure .* d ago\n", printed)
    assert printed.endswith('JSON\n{\n  "id": 1,\n  "note": "ü\\u001b[31m"\n}\n')
    assert (await run("show", str(letter), "--raw"))[1].encode() == value


# -- redriving -----------------------------------------------------------------------------------------------------


async def test_a_redriven_change_goes_back_as_it_was_to_its_sink_alone_and_only_once(
    office: Office, run: Run, config: Path
) -> None:
    headers = [("ce_id", b"1"), ("ce_sequence", b"2")]
    letter = await office.bury(key=b"acme/job/1", value=b"{} ", headers=headers, stage="forward/crm", redrives=1)
    other = await office.bury(key=b"acme/job/1")
    async with open_database(read_settings(config).store) as engine:
        await upgrade(engine)
        letters = OpenLetters(engine)
        original = LogRecord(topic=office.name(CHANGES), partition=3, offset=55, timestamp=0)
        await letters.add("forward/crm", "acme", original)
        await letters.add("mirror", "acme", original)
        assert await run("redrive", str(letter), "--yes") == (0, "redriven 1 dead letter\n", "")
        assert await letters.counts("forward/crm", newer_than_ms=0) == {}
        assert await letters.counts("mirror", newer_than_ms=0) == {"acme": 1}
    (copy,) = await office.records(CHANGES)
    assert (copy.key, copy.value) == (b"acme/job/1", b"{} ")
    assert copy.headers == (*headers, ("x-redrive-to", b"forward/crm"), ("x-redrives", b"2"))
    assert await resolutions(office) == {str(letter): ("redriven", "")}
    assert listed((await run("list"))[1]) == [str(other)]
    assert await run("redrive", str(letter), "--yes") == (
        1,
        "",
        f"tradewind: dead letter {letter} is redriven already\n",
    )
    assert len(await office.records(CHANGES)) == 1
    _, printed, _ = await run("show", str(letter))
    assert re.search(r"state +redriven .* s ago\n", printed)
    assert "to redrive" not in printed


async def test_letters_of_one_key_are_redriven_in_their_order_and_a_limit_takes_the_oldest(
    office: Office, run: Run
) -> None:
    for number in range(6):
        await office.bury(key=b"acme/job/1", value=str(number).encode())
        await office.bury(key=b"bolt/job/1", value=b"-", stage="forward/crm")
    assert (await run("redrive", "--sink", "mirror", "--limit", "4", "-y"))[:2] == (0, "redriven 4 dead letters\n")
    assert (await run("redrive", "--sink", "mirror", "-y"))[:2] == (0, "redriven 2 dead letters\n")
    copies = await office.records(CHANGES)
    assert [record.value for record in copies] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    code, _, said = await run("redrive", "--sink", "mirror", "-y")
    assert (code, said) == (1, "tradewind: no open dead letter is like that\n")
    assert (await run("redrive", "-y"))[:2] == (0, "redriven 6 dead letters\n")
    assert await run("redrive", "-y") == (1, "", "tradewind: there is no open dead letter\n")
    assert list((await resolutions(office)).values()) == [("redriven", "")] * 12


async def test_webhooks_and_commands_go_back_to_their_own_topics(office: Office, run: Run) -> None:
    receipt = ("tradewind-receipt", b"r-1")
    await office.bury(of=WEBHOOKS, key=b"acme", value=b"w", headers=[receipt], stage="processors", elements="1,3")
    await office.bury(of=COMMANDS, key=b"acme", value=b"c", stage="command")
    assert (await run("redrive", "--yes"))[0] == 0
    (webhook,), (command,) = await office.records(WEBHOOKS), await office.records(COMMANDS)
    assert (webhook.value, command.value) == (b"w", b"c")
    assert webhook.headers == (
        receipt,
        ("tradewind-elements", b"1,3"),
        ("x-redrive-to", b"processors"),
        ("x-redrives", b"1"),
    )
    assert command.headers == (("x-redrive-to", b"command"), ("x-redrives", b"1"))
    assert await office.records(CHANGES) == []


async def test_what_nobody_would_take_stays_open_and_is_said(office: Office, run: Run) -> None:
    gone = await office.bury(stage="forward/gone")
    rules = await office.bury(of=WEBHOOKS, headers=[("tradewind-control", b"rules")], stage="processors")
    good = await office.bury(key=b"acme/job/2")
    code, printed, said = await run("redrive", "-y")
    assert (code, printed) == (0, "redriven 1 dead letter\n")
    assert sorted(said.splitlines()) == [
        "tradewind: 1 cannot be redriven: forward/gone is not in the configuration, and nobody else would take it",
        "tradewind: 1 cannot be redriven: it is a control record: put rules in force with `tradewind rules apply`",
    ]
    assert await resolutions(office) == {str(good): ("redriven", "")}
    code, _, said = await run("redrive", str(gone), "-y")
    assert (code, said.count("cannot be redriven")) == (1, 1)
    assert "to redrive    it cannot be: it is a control record" in (await run("show", str(rules)))[1]
    assert (await run("drop", str(gone), str(rules), "--reason", "gone", "-y"))[0] == 0
    assert await run("list") == (0, "", "there is no open dead letter\n")


async def test_a_dropped_letter_is_closed_with_the_reason_and_its_bytes_stay(
    office: Office, run: Run, config: Path
) -> None:
    letter = await office.bury(value=b"still here")
    async with open_database(read_settings(config).store) as engine:
        await upgrade(engine)
        letters = OpenLetters(engine)
        await letters.add("mirror", "acme", LogRecord(topic=office.name(CHANGES), partition=3, offset=55, timestamp=0))
        assert (await run("drop", "--account", "acme", "--reason", "test däta", "-y"))[1] == "dropped 1 dead letter\n"
        assert await letters.counts("mirror", newer_than_ms=0) == {}
    assert await resolutions(office) == {str(letter): ("dropped", "test däta")}
    assert await office.records(CHANGES) == []
    assert await run("list", "--account", "acme") == (1, "", "tradewind: no open dead letter is like that\n")
    _, printed, _ = await run("list", "--all")
    assert printed.splitlines()[1].split()[:2] == [str(letter), "dropped"]
    _, printed, _ = await run("show", str(letter))
    assert re.search(r"state +dropped .*, \d+ s ago: test däta\n", printed)
    assert "still here" in printed
    code, _, said = await run("redrive", str(letter), "-y")
    assert (code, said) == (1, f"tradewind: dead letter {letter} is dropped already\n")


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("show", "17"), r"named PARTITION:OFFSET, as in 3:17; found '17'"),
        (("redrive", "1:2", "x"), r"named PARTITION:OFFSET"),
        (("redrive", "1:2", "--account", "acme"), r"either LETTERS or filters"),
        (("drop", "1:2", "--limit", "1", "--reason", "r"), r"either LETTERS or filters"),
        (("drop", "1:2", "--reason", " "), r"^--reason: says nothing"),
        (("list", "--since", "yesterday"), r"^--since: 'yesterday' is no time"),
        (("redrive", "--until", "soon"), r"^--until: 'soon' is no time"),
        (("list", "--entity", "job"), r"^--entity: is written type/id"),
        (("list", "--entity", "job/1", "--type", "asset"), r"leave --type out"),
        (("list", "--limit", "0"), r"^--limit: must be above 0"),
        (("redrive", "--limit", "-1"), r"^--limit: must be above 0"),
        (("redrive", "--account", ""), r"^--account: says nothing"),
        (("drop", "--type", "", "--reason", "r"), r"^--type: says nothing"),
    ],
)
async def test_what_says_nothing_is_refused_before_anything_is_read(
    run: Run, arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        await run(*arguments)


async def test_letters_that_are_not_there_are_said_and_nothing_is_done(office: Office, run: Run) -> None:
    letter = await office.bury(key=b"acme/job/1")
    for command in (("show",), ("redrive", "-y"), ("drop", "-y", "--reason", "r")):
        for missing in (LetterId(letter.partition, 99), LetterId(1 - letter.partition, 0), LetterId(77, 0)):
            code, printed, said = await run(*command, str(missing))
            assert (code, printed) == (1, "")
            assert said.startswith(f"tradewind: there is no dead letter {missing}")
            assert len(said.splitlines()) == 1
    code, _, said = await run("redrive", str(letter), "77:0", f"{letter.partition}:99", "-y")
    assert (code, len(said.splitlines())) == (1, 2)
    assert await office.records(CHANGES) == []
    await run("redrive", str(letter), "-y")
    code, _, said = await run("show", f"{letter.partition}:{letter.offset + 1}")  # the resolution
    assert (code, said.startswith("tradewind: there is no dead letter")) == (1, True)


async def test_records_that_are_no_letters_are_told_and_passed_over(office: Office, run: Run) -> None:
    await (await office.producer.send(office.name(DEADLETTERS), key=b"x", value=b"foreign"))
    letter = await office.bury()
    code, printed, said = await run("list")
    assert (code, listed(printed)) == (0, [str(letter)])
    assert said == "1 records on the topic are no dead letters of ours\n"


async def test_without_a_terminal_nobody_is_asked(office: Office, config: Path) -> None:
    await office.bury()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "cli.main", "deadletters", "redrive", "--config", str(config)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.decode() == "tradewind: there is no terminal to ask on: say --yes\n"
    assert await office.records(CHANGES) == []


@pytest.mark.parametrize(("answer", "code", "copies"), [(b"y\n", 0, 2), (b"\n", 1, 0), (b"\x04", 1, 0)])
async def test_on_a_terminal_the_number_is_asked_for_and_no_is_the_default(
    office: Office, config: Path, answer: bytes, code: int, copies: int
) -> None:
    await office.bury(key=b"acme/job/1")
    await office.bury(key=b"acme/job/2")
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "cli.main", "deadletters", "redrive", "--config", str(config)),
        stdin=theirs,
        stdout=PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    said = bytearray()

    def listen() -> None:
        """Read what appears on the terminal, and answer the question; the terminal is gone when the process is."""
        with suppress(OSError):
            while seen := os.read(ours, 1024):
                asked = b"letters?" in said
                said.extend(seen)
                if not asked and b"letters?" in said:
                    os.write(ours, answer)

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(asyncio.to_thread(listen), process.wait())
    finally:
        if process.returncode is None:
            process.kill()
        os.close(ours)
    assert b"redrive 2 dead letters?" in said
    assert process.returncode == code
    assert len(await office.records(CHANGES)) == copies


@pytest.mark.usefixtures("broker")
async def test_a_topic_that_is_not_there_is_said(run: Run) -> None:
    with pytest.raises(KafkaError, match="run `tradewind topics`"):
        await run("list")
