"""`tradewind replay` on a real broker, as an operator uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cli.main import app
from runtime.kafka import KafkaError
from runtime.kafka.bookmarks import groups_with
from runtime.kafka.topics import ensure_topics, open_admin
from runtime.settings import KafkaSettings
from schemas.errors import LogGapError, SettingsError
from schemas.record import header
from schemas.topics import CHANGES, REPLAY_HEADER, RULES
from tests.processors.pipeline import TIMES, group_of, job, removed_before
from tests.replay.history import PARTITIONS, History, at, history_on

pytestmark = pytest.mark.anyio

CONFIG = """
[kafka]
bootstrap_servers = "{kafka.bootstrap_servers}"
topic_prefix = "{kafka.topic_prefix}"
retention_days = {days}
[pipeline]
horizon_s = {times.horizon_s}
memory_s = {times.memory_s}
max_ceiling_s = {times.max_ceiling_s}
[processors]
group = "{group}"
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
FEWER = """
[defaults]
quiet_s = 0.3
ceiling_s = 0.9
[defaults.types.job]
ignore_users = [2]
"""
NOTHING = "[defaults]\nkeep = false\n"

Run = Callable[..., Awaitable[tuple[int, str, str]]]


def configure(folder: Path, kafka: KafkaSettings, days: int = 90) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text("of-no-use-in-this-test")
    (folder / "signing").write_text("whsec_" + "A" * 32)
    text = CONFIG.format(kafka=kafka, folder=folder, times=TIMES, group=group_of(kafka), days=days)
    (folder / "tradewind.toml").write_text(text)
    return folder / "tradewind.toml"


@pytest.fixture
def config(kafka: KafkaSettings, tmp_path: Path) -> Path:
    return configure(tmp_path, kafka)


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tradewind replay ...`; returns the exit code, and what it printed on stdout and stderr."""

    async def runner(*arguments: str, at: Path = config) -> tuple[int, str, str]:
        line = ["replay", *arguments, "--config", str(at)]
        code = await asyncio.to_thread(app, line, result_action="return_value")
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return runner


@pytest.fixture
async def history(kafka: KafkaSettings) -> AsyncIterator[History]:
    async with history_on(kafka) as opened:
        yield opened


@pytest.fixture
async def office(history: History) -> History:
    await history.office("acme", seconds=20)
    await history.live()
    return history


def when(seconds: float) -> str:
    return datetime.fromtimestamp(at(seconds) / 1000, UTC).isoformat(timespec="milliseconds")


RANGE = ("--from", when(5), "--to", when(15.5))


async def shadow(history: History, name: str = "servicetrade.changes.shadow") -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in await history.all(name)]


# -- into a topic ------------------------------------------------------------------------------------------------------


async def test_a_range_goes_into_the_shadow_topic_and_its_account_is_printed(office: History, run: Run) -> None:
    code, out, err = await run(*RANGE, "--into", "shadow")
    found = await shadow(office)
    assert code == 0
    assert all(at(5) <= change["opened_ms"] < at(15.5) for change in found)
    assert f"{len(found):,} changes into {office.kafka.topic_prefix}servicetrade.changes.shadow" in out
    assert err.startswith("replay ")


async def test_a_program_reads_what_came_of_it(office: History, run: Run) -> None:
    code, out, _ = await run(*RANGE, "--into", "shadow", "--topic", "mine", "--account", "acme", "--json")
    told = json.loads(out)
    assert (code, told["changes"], told["still_open"]) == (0, len(await shadow(office, "mine")), 0)
    assert told["by_account"] == {"acme": told["changes"]}


async def test_with_other_rules_the_live_topic_is_only_written_to_if_a_person_says_so(
    office: History, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "rules.toml").write_text(FEWER)
    before = len(await office.all(CHANGES.name))
    line = (*RANGE, "--into", "live", "--rules", str(tmp_path / "rules.toml"))
    with pytest.raises(SettingsError, match=r"the live run did not make.*no terminal.*--yes"):
        await run(*line)
    assert len(await office.all(CHANGES.name)) == before
    assert (await run(*line, "--yes"))[0] == 0
    made = [one for one in await office.all(CHANGES.name) if header(one, REPLAY_HEADER)]
    assert len(made) == len(await office.all(CHANGES.name)) - before > 0


async def test_a_replay_that_failed_goes_on_on_another_machine(
    office: History, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The broker takes no record: as sudden as if it were away.
    tiny = replace(CHANGES, name="narrow", partitions=PARTITIONS, config={"max.message.bytes": "10"})
    await ensure_topics(office.kafka, [tiny])
    (tmp_path / "rules.toml").write_text(FEWER)
    with pytest.raises(KafkaError):
        await run(*RANGE, "--into", "shadow", "--topic", "narrow", "--rules", str(tmp_path / "rules.toml"))
    said = capsys.readouterr().err
    replay_id = said.partition("--resume ")[2].split()[0]
    assert f"tradewind replay --resume {replay_id} goes on" in said
    assert await groups_with(office.kafka, f"tradewind-replay-{replay_id}")
    async with open_admin(office.kafka) as admin:
        name = office.kafka.topic_prefix + "narrow"
        wide = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "1000000"})
        await admin.alter_configs([wide])
    elsewhere = configure(tmp_path / "elsewhere", office.kafka)
    (tmp_path / "elsewhere" / "same.toml").write_text(FEWER)
    (tmp_path / "rules.toml").write_text(NOTHING)
    with pytest.raises(SettingsError, match="has other rules by now"):
        await run("--resume", replay_id, at=elsewhere)
    with pytest.raises(SettingsError, match="--account: a replay goes on as it began"):
        await run("--resume", replay_id, "--account", "acme")
    code, _, _ = await run("--resume", replay_id, "--rules", str(tmp_path / "elsewhere" / "same.toml"), at=elsewhere)
    assert code == 0
    assert await shadow(office, "narrow")
    with pytest.raises(SettingsError, match=f"no replay {replay_id} is under way"):
        await run("--resume", replay_id)


# -- beside other rules ------------------------------------------------------------------------------------------------


async def test_what_other_rules_would_change_is_told_with_the_rule_that_does_it(
    history: History, run: Run, tmp_path: Path
) -> None:
    await history.rules("acme", 0)
    await history.post("acme", 10, job(1, userId=1), job(2, userId=2))
    await history.post("acme", 10.1, job(1, userId=2))
    await history.post("acme", 11, job(3, action="deleted", userId=2))
    await history.tick("acme", 30)
    await history.live()
    (tmp_path / "rules.toml").write_text(FEWER)
    line = ("--from", when(5), "--to", when(20), "--into", "diff", "--rules", str(tmp_path / "rules.toml"))
    code, out, _ = await run(*line)
    assert code == 0
    assert "vanish: there would be no change" in out
    assert out.count("filtered: types.job.ignore_users holds 2") == 3
    assert "2 changes fewer: 1 instead of 3; at most 1 API reads of the mirror saved" in out
    code, out, _ = await run(*line, "--json")
    *matches, summary = [json.loads(part) for part in out.splitlines()]
    assert sorted((one["kind"], one["subject"]) for one in matches) == [
        ("alter", "job/1"),
        ("vanish", "job/2"),
        ("vanish", "job/3"),
    ]
    assert summary["summary"] | {"same": 0} == summary["summary"]
    assert (summary["summary"]["then"], summary["summary"]["now"]) == (3, 1)
    assert (summary["summary"]["api_reads_saved"], summary["types"]["job"]["vanish"]) == (1, 2)


async def test_the_rules_in_force_now_are_compared_with_those_of_then(history: History, run: Run) -> None:
    await history.rules("acme", 0)
    await history.post("acme", 10, job(1))
    await history.rules("acme", 20, actions=["deleted"])
    await history.post("acme", 30, job(2))
    await history.tick("acme", 40)
    await history.live()
    code, out, _ = await run("--from", when(5), "--into", "diff", "--rules", "now", "--json")
    *matches, summary = [json.loads(part) for part in out.splitlines()]
    assert (code, [(one["kind"], one["subject"]) for one in matches]) == (0, [("vanish", "job/1")])
    assert (summary["summary"]["then"], summary["summary"]["now"]) == (1, 0)


@pytest.mark.usefixtures("office")
async def test_where_nothing_differs_it_says_so(run: Run) -> None:
    code, out, _ = await run("--from", when(12), "--to", when(15), "--into", "diff", "--rules", "now")
    assert code == 0
    assert "nothing differs" in out


@pytest.mark.usefixtures("office")
async def test_rules_that_filter_everything_are_asked_about(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(NOTHING)
    line = (*RANGE, "--into", "shadow", "--rules", str(tmp_path / "rules.toml"))
    with pytest.raises(SettingsError, match=r"these rules filter everything of acme.*--yes"):
        await run(*line)
    code, out, _ = await run(*line, "--yes")
    assert (code, " 0 changes " in out) == (0, True)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (("--into", "live"), "--from: say from when"),
        (("--from", "2h"), "--into: say where"),
        (("--from", "1h", "--to", "2h", "--into", "live"), "--from 1h is not before --to 2h"),
        (("--from", "tomorrow", "--into", "live"), "'tomorrow' is no time; it is written"),
        (("--from", when(0), "--to", "2999-01-01", "--into", "live"), "--to: 2999-01-01 lies ahead"),
        ((*RANGE, "--into", "live", "--types", "jbo"), "no entity type 'jbo' is known; did you mean job?"),
        ((*RANGE, "--into", "live", "--types", " , "), "names at least one type"),
        ((*RANGE, "--into", "live", "--account", "Acme!"), "'Acme!' is no name of an account"),
        ((*RANGE, "--into", "shadow", "--topic", "servicetrade.webhooks"), "is a topic of the pipeline"),
        ((*RANGE, "--into", "shadow", "--topic", "a b"), "is no name of a topic"),
        ((*RANGE, "--into", "live", "--topic", "mine"), "--topic goes with --into shadow"),
        ((*RANGE, "--into", "diff"), "say --rules now, or --rules FILE"),
        ((*RANGE, "--into", "diff", "--rules", "no-such-file"), "no-such-file is no file"),
        ((*RANGE, "--into", "shadow", "--redeliver", "mirror"), "--redeliver goes with --into live"),
        ((*RANGE, "--into", "live", "--redeliver", "forward/erp"), "there are all, mirror, forward/crm"),
        (("--resume", "0"), "no replay 0 is under way"),
        (("--resume", "../x"), "no replay ../x is under way"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_what_there_is(
    kafka: KafkaSettings, run: Run, line: tuple[str, ...], sentence: str
) -> None:
    await ensure_topics(kafka, [RULES])
    with pytest.raises(SettingsError, match=sentence):
        await run(*line)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            ("--from", when(600), "--to", when(700), "--into", "live"),
            "no webhook was received.*the log holds from .* to",
        ),
        ((*RANGE, "--into", "live", "--account", "acmee"), "account acmee is neither .* did you mean acme?"),
    ],
)
async def test_what_the_log_has_nothing_of_is_refused_with_what_it_has(
    office: History, run: Run, line: tuple[str, ...], sentence: str
) -> None:
    before = len(await office.all(CHANGES.name))
    with pytest.raises(SettingsError, match=sentence):
        await run(*line)
    assert len(await office.all(CHANGES.name)) == before


async def test_what_the_live_run_has_not_come_to_is_not_replayed(history: History, run: Run) -> None:
    await history.office("acme", seconds=10)
    await history.live({0: 0, 1: 0})
    with pytest.raises(SettingsError, match=r"the live run .* has not come to"):
        await run("--from", when(5), "--into", "shadow")


async def test_what_retention_removed_is_told(office: History, run: Run, tmp_path: Path) -> None:
    for partition in await office.partitions():
        if await office.reader.end(partition):
            await removed_before(office.kafka, partition, 10)
    # With a retention of a day, what is missing from before two hours ago was not removed by it.
    assert (await run("--from", when(5), "--into", "shadow", at=configure(tmp_path / "one", office.kafka, 1)))[0] == 0
    old = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="seconds")
    with pytest.raises(LogGapError, match=r"retention removed part of .* it begins with .* needs it from"):
        await run("--from", old, "--into", "shadow", at=configure(tmp_path / "two", office.kafka, 1))
