"""What docs/servicetrade-session.md tells its reader works, and its defaults are the true ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cli.session import session_app
from runtime.settings import LoginSettings, ServiceTradeSettings, StoreSettings
from tests.servicetrade.site import Site
from tests.simulator.support import Simulator, running

pytestmark = pytest.mark.anyio

TEXT = (Path(__file__).parents[2] / "docs" / "servicetrade-session.md").read_text("utf-8")


async def test_the_code_of_the_page_runs(
    sqlite_settings: StoreSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    async with running() as simulator:
        site = Site(tmp_path, simulator, sqlite_settings, login=LoginSettings(interval_s=0))
        location = next(key for key in await _entities(simulator) if key.startswith("location/"))
        made = {"locationId": int(location.removeprefix("location/"))}
        answer = await simulator.http.post("/api/job", json=made, headers=await simulator.login())
        job = str(answer.json()["data"]["id"])
        names: dict[str, Any] = {}
        code = source.replace('"main"', '"acme"').replace("2687264638045377", job)
        exec(compile(code, "servicetrade-session.md", "exec"), names)  # noqa: S102 (that is the point)
        await names["with_the_shared_session"](site.config)
        await names["with_a_session_of_its_own"](site.config)
        counts = await site.counts()
        entities = await _entities(simulator)
    assert len(capsys.readouterr().out.splitlines()) > 1, "the names of locations"
    assert entities[f"job/{job}"]["customerPo"] == "4711"
    assert (counts["logins"], counts["live_sessions"]) == (3, 2), "this test's, the shared one, and one that was ended"


async def _entities(simulator: Simulator) -> dict[str, Any]:
    found: dict[str, Any] = (await simulator.control("entities?account=acme"))["entities"]
    return found


def test_the_commands_of_the_page_exist() -> None:
    commands = re.findall(r"^tradewind session (\w+)", TEXT, re.MULTILINE)
    assert sorted(commands) == ["check", "drop", "list", "show", "unlock"]
    assert set(commands) <= set(session_app)


def test_the_times_of_the_page_are_the_defaults() -> None:
    login, api = LoginSettings(), ServiceTradeSettings()
    for sentence in (
        f"lie {login.interval_s:.0f} s at least (`interval_s`)",
        f"up to {login.longest_pause_s:.0f} s (`longest_pause_s`)",
        f"waits {login.wait_s:.0f} s for a session (`wait_s`)",
        f"one worker gets it, for {login.lease_s:.0f} s",
        f"each request to `/auth` may take {login.answer_timeout_s:.0f} s (`answer_timeout_s`)",
        f"{api.concurrency} at a time per account and process (`concurrency`), {api.timeout_s:.0f} s each",
    ):
        assert sentence in " ".join(TEXT.split()), sentence
