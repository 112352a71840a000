"""The control plane's own answers, and the simulator as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import httpx
import pytest

from servicetrade.simulator.__main__ import settings
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio


async def test_an_account_made_at_run_time_can_log_in(simulator: Simulator) -> None:
    body = {"name": "dash", "username": "dash-api", "password": "secret-d", "user_id": 77}
    assert (await simulator.control("accounts", body))["user_id"] == 77
    await simulator.login("dash")
    names = [account["name"] for account in (await simulator.control("accounts"))["accounts"]]
    assert names == ["acme", "bolt", "crew", "dash"]
    assert (await simulator.http.post("/_control/accounts", json=body)).status_code == 409
    assert (await simulator.http.post("/_control/accounts", json={"name": "x"})).status_code == 400


async def test_switches_are_changed_together_or_not_at_all(simulator: Simulator) -> None:
    answer = await simulator.http.post("/_control/switches", json={"switches": {"shape": "compound", "x": 1}})
    assert answer.status_code == 400
    assert "x" in answer.json()["error"]
    assert (await simulator.control("switches"))["acme"]["shape"] == "flat"
    assert (await simulator.http.post("/_control/switches", json={})).status_code == 400


@pytest.mark.parametrize("path", ["journal?account=nobody", "entities", "entities?account=nobody"])
async def test_an_unknown_account_is_404(simulator: Simulator, path: str) -> None:
    assert (await simulator.http.get(f"/_control/{path}")).status_code == 404


async def test_entities_are_shown_in_either_shape(simulator: Simulator) -> None:
    flat = await simulator.control("entities?account=acme")
    compound = await simulator.control("entities?account=acme&shape=compound")
    key = next(key for key in flat["entities"] if key.startswith("contact/"))
    assert flat["entities"][key]["location"]["id"] == compound["entities"][key]["location"]
    assert (await simulator.http.get("/_control/entities?account=acme&shape=x")).status_code == 400
    assert flat["touched"] == flat["deleted"] == []


async def test_the_journal_sums_over_all_accounts(simulator: Simulator) -> None:
    found = await simulator.control("journal")
    assert set(found["accounts"]) == {"acme", "bolt", "crew"}
    assert found["totals"]["messages"] == 0


async def test_the_process_prints_its_url_and_stops_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "servicetrade.simulator", "--account", "acme:acme-api:secret-a:9"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = json.loads(await process.stdout.readline())
        assert line["event"] == "simulator.listening"
        async with httpx.AsyncClient(base_url=line["url"], trust_env=False) as http:
            login = await http.post("/api/auth", json={"username": "acme-api", "password": "secret-a"})
            assert login.json()["data"]["user"]["id"] == 9
            # A day under way does not keep the process from stopping.
            assert (await http.post("/_control/day", json={})).status_code == 202
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_the_command_line_reads_accounts_and_the_senders_rules() -> None:
    chosen = settings(
        [
            *("--port", "7", "--account", "a:u:p", "--account", "b:v:q:3"),
            *("--retry-interval", "0.1", "--retry-interval", "0.2", "--delivery-timeout", "1"),
        ]
    )
    assert [(one.name, one.user_id) for one in chosen.accounts] == [("a", None), ("b", 3)]
    assert chosen.sender.intervals_s == (0.1, 0.2)
    assert chosen.sender.timeout_s == 1
    assert chosen.port == 7


@pytest.mark.parametrize("text", ["a:u", "a:u:", "a:u:p:x", "a:u:p:1:2"])
def test_a_malformed_account_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings(["--account", text])
    assert "--account" in capsys.readouterr().err
