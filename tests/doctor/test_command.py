"""`tradewind doctor` as a person runs it: configurations, lines, JSON, exit codes, Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import app
from doctor.configuration import files_of, is_mounted
from runtime.ops import Status, ops_server
from runtime.settings import KafkaSettings, StoreSettings, read_settings
from tests.doctor.examining import (
    FAILED,
    NOT_CHECKED,
    OK,
    WARNING,
    examined,
    make_store,
    make_topics,
    on_kafka,
    silent_server,
)
from tests.servicetrade.site import HOOK_SECRET, Site
from tests.servicetrade.subscribing import PUBLIC, public_site, url_with
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio

CHECKS = ["configuration", "broker", "topics", "groups", "store", "servicetrade", "subscriptions", "ingest"]


@pytest.fixture
async def site(simulator: Simulator, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    await make_store(sqlite_settings)
    return public_site(simulator, sqlite_settings, tmp_path)


def doctor(config: Path, *arguments: str) -> int:
    return int(app(["doctor", *arguments, "--config", str(config)], result_action="return_value"))


def checks_of(found: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(one["check"] for one in found))


async def test_a_pipeline_that_is_right_exits_with_0_whatever_it_warns_of(
    site: Site, simulator: Simulator, kafka: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    on_kafka(site.config, kafka)
    await make_topics(kafka)
    for account in ("acme", "bolt"):
        await simulator.subscribe(url_with(HOOK_SECRET, account), account=account)
    ready = Status()
    ready.watch(lambda: {"accepting": True})
    async with ops_server("127.0.0.1", 0, ready) as port:
        site.config.write_text(site.config.read_text().replace("[ingest]", f"[ingest]\nops_port = {port}"))
        assert await asyncio.to_thread(doctor, site.config, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert await asyncio.to_thread(doctor, site.config) == 0
        printed = capsys.readouterr().out
    assert checks_of(told) == CHECKS
    assert {frozenset(one) for one in told} == {frozenset({"check", "subject", "state", "what", "do"})}
    assert {one["state"] for one in told} == {"ok", "warning", "not checked"}
    lines = printed.splitlines()
    assert f"ok           ingest         process: ready, by http://127.0.0.1:{port}/readyz" in lines
    warned = next(number for number, line in enumerate(lines) if line.startswith("warning      groups "))
    assert lines[warned + 1] == "             do: start `tradewind processors`"
    assert lines[-1].endswith("2 not checked")
    assert "FAILED" not in printed
    assert f"posts to {PUBLIC}/webhooks/ACCOUNT/SECRET; nothing is sent there from here" in printed


async def test_what_is_away_is_a_failure_each_and_the_rest_is_checked_all_the_same(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(doctor, site.config) == 1
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert next(line for line in lines if line.startswith("FAILED       broker         127.0.0.1:1: cannot be reached"))
    assert "not checked  topics         all topics: Kafka is not reachable" in lines
    assert "not checked  groups         all stages: Kafka is not reachable" in lines
    assert next(line for line in lines if line.startswith("ok           servicetrade   acme: there is a new session"))
    marks = [line[13:].split()[0] for line in lines[:-1] if not line.startswith(" ")]
    assert list(dict.fromkeys(marks)) == CHECKS
    assert "FAILED" in lines[-1]


@pytest.mark.parametrize(
    ("text", "told", "do"),
    [
        (None, "cannot be read: No such file", "copy tradewind.example.toml to tradewind.toml"),
        ("[kafka", "not valid TOML", "tradewind.example.toml explains every key"),
        ('[kafka]\nbootstrap_server = "x"', "kafka.bootstrap_server: unknown key; did you mean", "put it right"),
    ],
)
def test_a_configuration_that_cannot_be_read_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, told: str, do: str
) -> None:
    config = tmp_path / "tradewind.toml"
    if text is not None:
        config.write_text(text)
    assert doctor(config, "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert checks_of(found) == CHECKS
    assert told in found[0]["what"]
    assert do in found[0]["do"]
    assert {one["what"] for one in found[1:]} == {"the configuration cannot be read"}
    assert {one["state"] for one in found[1:]} == {"not checked"}


async def test_keys_and_secrets_are_looked_at(site: Site) -> None:
    site.write_secret("store", "mistyped")
    report = await examined(site.config, login=False)
    key = report.one("configuration", "store.key")
    assert (key.state, "no Fernet key" in key.what, "`tradewind key`" in key.do) == (FAILED, True, True)
    hooks = report.of("configuration", "accounts.acme.hook_secret")
    assert [one.what.split(":")[0] for one in hooks] == ["may be guessed", "one secret for acme, bolt"]
    assert {one.state for one in hooks} == {WARNING}
    assert report.one("store", "store.key").what == "store.key is no Fernet key"
    assert report.one("servicetrade").state is NOT_CHECKED


async def test_every_file_that_holds_a_secret_is_known_wherever_the_configuration_names_it(site: Site) -> None:
    for name, value in (("sasl", "p"), ("whsec", f"whsec_{'A' * 32}"), ("token", "t")):
        site.write_secret(name, value)
    more = """
[kafka.sasl]
mechanism = "PLAIN"
username = "u"
password = { file = "sasl" }
[sinks.forward.billing]
url = "https://billing.example.com"
secret = { file = "whsec" }
[sinks.custom.crm]
deliver = "my_package.crm:deliver"
secrets = { token = { file = "token" }, other = { env = "HOME" } }
"""
    text = site.config.read_text().replace("[kafka]", '[kafka]\nsecurity = "sasl_plaintext"')
    site.config.write_text(text + more)
    found = {file.name: keys for file, keys in files_of(read_settings(site.config)).items()}
    assert found == {
        "store": ["store.key"],
        "acme": ["accounts.acme.password"],
        "bolt": ["accounts.bolt.password"],
        "hook": ["accounts.acme.hook_secret", "accounts.bolt.hook_secret"],
        "sasl": ["kafka.sasl.password"],
        "whsec": ["sinks.forward.billing.secret"],
        "token": ["sinks.custom.crm.secrets.token"],
    }


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def test_a_secret_that_others_can_read_is_told_with_its_file(site: Site, open_folder: Path) -> None:
    report = await examined(site.config, login=False)
    assert report.one("configuration", "secrets").state is OK
    for name, mode in (("hook", 0o644), ("acme", 0o600)):
        (open_folder / name).write_text((site.folder / name).read_text())
        (open_folder / name).chmod(mode)
        text = site.config.read_text().replace(f'file = "{name}"', f'file = "{open_folder}/{name}"')
        site.config.write_text(text)
    report = await examined(site.config, login=False)
    found = report.one("configuration", str(open_folder / "hook"))
    assert found.state is WARNING
    assert found.what == (
        "holds accounts.acme.hook_secret, accounts.bolt.hook_secret and can be read by everybody on this machine "
        "(mode 0644)"
    )
    assert found.do == f"chmod 600 {open_folder}/hook"
    assert report.of("configuration", "secrets") == []
    assert not is_mounted(open_folder / "hook")


async def test_a_public_url_that_cannot_be_is_a_failure(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace(f"{PUBLIC}/", "http://hooks.example.com"))
    found = (await examined(site.config, login=False)).one("ingest", "ingest.public_url")
    assert (found.state, found.what.startswith("must begin with https://")) == (FAILED, True)


async def test_it_ends_at_once_on_ctrl_c(site: Site) -> None:
    async with silent_server() as where:
        site.config.write_text(site.config.read_text().replace("127.0.0.1:1", where))
        command = (
            sys.executable,
            "-W",
            "error",
            "-m",
            "cli.main",
            "doctor",
            "--no-login",
            "--config",
            str(site.config),
        )
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environ)
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(60):
            # What is known already is printed, while Kafka is waited for.
            assert (await process.stdout.readline()).startswith(b"ok           configuration")
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            assert await process.stderr.read() == b""
