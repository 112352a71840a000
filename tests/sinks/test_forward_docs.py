"""What docs/sinks.md tells a subscriber to copy works, examples/subscriber.py too, and its settings are settings."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from anyio import fail_after, open_process

from examples.subscriber import is_genuine, is_news
from runtime.broker_config import free_port
from runtime.sink_settings import CustomSettings, SinksSettings, SubscriberSettings
from runtime.toml_reader import Secret, read_toml
from schemas.errors import RetryLater
from sinks.forward_http import Sender, open_sender
from sinks.forward_message import body_of, signed_headers
from tests.sinks.making import arrived, change
from tests.sinks.subscriber import Request, subscriber

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/sinks.md").read_text("utf-8")
NEW, OLD = (f"whsec_{b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


async def a_request(secret: str) -> Request:
    """One as the sink sends it."""

    async def nearby(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    one = change(1)
    async with subscriber() as found:
        url = f"http://crm.test:{found.port}/"
        settings = SubscriberSettings(url=url, secret=Secret(secret), allow_private=True)
        body = body_of(one, arrived(one).record.value or b"")
        async with open_sender("crm", settings, resolve=nearby) as sender:
            await sender.post(body, lambda: signed_headers(one.id, body, settings.keys, now_s=int(time.time())))
        return found.requests[0]


@pytest.mark.anyio
async def test_the_copied_code_takes_what_the_sink_sends() -> None:
    request = await a_request(f"{OLD} {NEW}")
    for secret in (OLD, NEW):
        assert is_genuine(secret, request.headers, request.body)


@pytest.mark.anyio
async def test_the_copied_code_takes_nothing_else() -> None:
    request = await a_request(OLD)
    assert not is_genuine(NEW, request.headers, request.body)
    assert not is_genuine(OLD, request.headers, request.body + b" ")
    for header, value in (
        ("webhook-id", "another"),
        ("webhook-timestamp", str(int(request.headers["webhook-timestamp"]) - 1)),
        ("webhook-timestamp", "now"),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,é"),
    ):
        assert not is_genuine(OLD, {**request.headers, header: value}, request.body)
        assert not is_genuine(OLD, {name: it for name, it in request.headers.items() if name != header}, request.body)
    late = signed_headers("id", b"{}", [bytes([2]) * 32], now_s=int(time.time()) - 600)
    assert not is_genuine(OLD, late, b"{}")


def test_the_copied_code_tells_repeats() -> None:
    database = sqlite3.connect(":memory:")
    numbers = [(1, 1), (2, 1), (2, 1), (1, 1), (1, 2), (3, 1)]
    changes = [json.loads(arrived(change(*one)).record.value or b"") for one in numbers]
    assert [is_news(database, one) for one in changes] == [True, True, False, False, True, True]
    database.close()


@pytest.mark.anyio
async def test_the_example_takes_changes_and_refuses_what_nobody_signed(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "whsec").write_text(NEW)
    command = [
        sys.executable,
        "-m",
        "examples.subscriber",
        str(tmp_path / "whsec"),
        str(tmp_path / "seen.db"),
        str(port),
    ]
    async with await open_process(command, cwd=ROOT) as process:
        assert process.stdout is not None
        url, one = f"http://127.0.0.1:{port}/", change(1)
        body = body_of(one, arrived(one).record.value or b"")
        statuses = []
        for secret in (OLD, NEW, NEW):
            settings = SubscriberSettings(url=url, secret=Secret(secret), allow_private=True)
            async with open_sender("example", settings) as sender:
                with fail_after(30):
                    statuses.append(await _answer(sender, one.id, body, settings))
        printed = await process.stdout.receive()
        process.kill()
    assert statuses == [401, 204, 204]
    assert printed.decode() == f"{one.account} {one.entity_type}/{one.entity_id} {one.action}\n"


async def _answer(sender: Sender, message_id: str, body: bytes, settings: SubscriberSettings) -> int:
    """Its status, once it listens."""
    while True:
        try:
            answer = await sender.post(
                body, lambda: signed_headers(message_id, body, settings.keys, now_s=int(time.time()))
            )
        except RetryLater:
            await anyio.sleep(0.05)
        else:
            return answer.status


def test_the_secret_that_is_made_as_written_is_one(tmp_path: Path) -> None:
    (line,) = [line for block in blocks("sh") for line in block.splitlines()]
    command = shlex.split(line.partition(" > ")[0])
    made = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert len(SubscriberSettings(url="https://a.test", secret=Secret(made.stdout.strip())).keys[0]) == 32


def test_the_settings_are_settings(tmp_path: Path) -> None:
    config = tmp_path / "sinks.toml"
    config.write_text("\n".join(blocks("toml")).replace("[sinks.", "["))
    (tmp_path / "secrets").mkdir()
    for name in ("crm_whsec", "warehouse_whsec", "billing_token"):
        (tmp_path / "secrets" / name).write_text(NEW)
    found = read_toml(config, SinksSettings)
    assert sorted((*found.forward, *found.custom)) == ["crm", "invoices", "warehouse"]


def test_the_times_are_the_defaults() -> None:
    subscriber, custom = SubscriberSettings(url="https://a.test", secret=Secret(NEW)), CustomSettings(deliver="a:b")
    assert f"`timeout_s` ({subscriber.timeout_s:.0f} s)" in TEXT
    assert f"`timeout_s` ({custom.timeout_s:.0f} s)" in TEXT
