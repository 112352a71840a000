"""`tradewind sink status` and `resume`, as people use them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from cli.sink import sink_app
from runtime.database import Database, open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.errors import SettingsError, StoreError
from schemas.record import LogRecord
from sinks.open_letters import OpenLetters
from sinks.parking_store import Halts, ParkingStore, Place

pytestmark = pytest.mark.anyio

TOPIC = "servicetrade.changes"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(Fernet.generate_key().decode())
    (tmp_path / "password").write_text("of-no-use")
    (tmp_path / "hook").write_text("of-no-use-in-this-test")
    (tmp_path / "whsec").write_text("whsec_" + "A" * 32)
    path = tmp_path / "tradewind.toml"
    path.write_text(
        f"""
[kafka]
bootstrap_servers = "127.0.0.1:1"
[store]
url = "sqlite+aiosqlite:///{tmp_path / "store.db"}"
key = {{ file = "key" }}
[accounts.acme]
username = "api"
password = {{ file = "password" }}
hook_secret = {{ file = "hook" }}
[sinks.mirror]
dead_letter_cap = 2
[sinks.forward.billing]
url = "https://billing.example"
secret = {{ file = "whsec" }}
"""
    )
    return path


def store_of(config: Path) -> StoreSettings:
    return StoreSettings(
        url=f"sqlite+aiosqlite:///{config.parent / 'store.db'}", key=Secret((config.parent / "key").read_text())
    )


def record(offset: int) -> LogRecord:
    return LogRecord(topic=TOPIC, offset=offset, timestamp=1, key=b"acme/job/1", value=b"{}")


async def fill(database: Database) -> None:
    await upgrade(database)
    place = Place(account="acme")
    await ParkingStore(database, "mirror", TOPIC).put([(place, "acme/job/1", record(n)) for n in range(3)])
    for n in range(2):
        await OpenLetters(database).add("mirror", "acme", record(n))
    await Halts(database).halt("forward/billing", "HTTP 410: wants nothing more")


def run(config: Path, *arguments: str) -> int:
    return int(sink_app([*arguments, "--config", str(config)], result_action="return_value"))


async def test_status_shows_what_is_put_aside_the_open_dead_letters_and_who_is_halted(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_database(store_of(config)) as database:
        await fill(database)
    assert await asyncio.to_thread(run, config, "status") == 1
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert lines["mirror"].split()[:4] == ["mirror", "delivers", "acme", "3"]
    assert "2 (at the cap)" in lines["mirror"]
    assert lines["command"].split() == ["command", "delivers", "-", "0", "0"]
    assert "HTTP 410: wants nothing more" in said
    assert "tradewind sink resume forward/billing" in said


async def test_resume_lets_a_halted_sink_go_on_and_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_database(store_of(config)) as database:
        await fill(database)
        assert await asyncio.to_thread(run, config, "resume", "forward/billing") == 0
        assert await Halts(database).of("forward/billing") is None
    assert await asyncio.to_thread(run, config, "resume", "forward/billing") == 0
    assert await asyncio.to_thread(run, config, "status") == 0
    said = capsys.readouterr().out
    assert "forward/billing: goes on within seconds" in said
    assert "forward/billing: was not halted" in said


async def test_a_sink_that_is_not_configured_is_named_with_those_that_are(config: Path) -> None:
    async with open_database(store_of(config)) as database:
        await fill(database)
    with pytest.raises(SettingsError, match="no sink 'forward/crm'; configured: mirror, command, forward/billing"):
        await asyncio.to_thread(run, config, "resume", "forward/crm")


async def test_before_a_sink_has_used_the_store_nothing_waits(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_database(store_of(config)):
        pass
    assert await asyncio.to_thread(run, config, "status") == 0
    assert capsys.readouterr().out.count("delivers") == 3


async def test_without_a_store_there_is_a_sentence(config: Path) -> None:
    with pytest.raises(StoreError, match="is not there"):
        await asyncio.to_thread(run, config, "status")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("forward", "crm"), r"there is no \[sinks.forward.crm\]"),
        (("custom", "crm"), r"there is no \[sinks.custom.crm\]"),
    ],
)
async def test_a_sink_that_is_not_configured_does_not_start(
    config: Path, arguments: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        await asyncio.to_thread(run, config, *arguments)
