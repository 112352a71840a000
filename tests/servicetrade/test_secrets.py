"""Nothing that a run writes holds a token, a password, the store's key or a hook secret."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from pathlib import Path
from typing import Any

import pytest

from cli.session import session_app
from runtime import metrics
from runtime.settings import LoginSettings, StoreSettings, read_settings
from schemas.errors import ServiceTradeError
from servicetrade.client import open_servicetrade
from servicetrade.session_store import SessionStore
from tests.servicetrade.conftest import OpenStore
from tests.servicetrade.site import HOOK_SECRET, SECRETS, Site, worker
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio

QUICK = LoginSettings(answer_timeout_s=1, lease_s=3, interval_s=0)
MISTYPED = "mistyped-91bc"
TROUBLES: list[dict[str, Any]] = [{"reset": True}, {"malformed": True}, {"status": 403}, {"status": 401, "body": ""}]


async def token_of(store: SessionStore, account: str = "acme") -> str:
    token = (await store.read(account)).token
    assert token is not None
    return token.reveal()


async def test_a_worker_in_every_trouble_writes_no_secret_to_logs_errors_or_the_disk(
    simulator: Simulator, sqlite_settings: StoreSettings, open_store: OpenStore, tmp_path: Path
) -> None:
    site = Site(tmp_path, simulator, sqlite_settings, login=QUICK)
    store, acme, bolt = await open_store(sqlite_settings), await site.entity("acme"), await site.entity("bolt")
    site.write_secret("bolt", MISTYPED)
    async with worker(site) as one:
        assert await one.order(2, acme) == {"ok": 2}
        tokens = [await token_of(store)]
        await simulator.control("sessions/kill", {"account": "acme"})
        assert await one.order(2, acme) == {"ok": 2}
        tokens.append(await token_of(store))
        assert "LoginRefused" in str(await one.order(1, bolt, account="bolt"))
        for fault in TROUBLES:
            await simulator.fault(on="resource", **fault)
            assert "ok" not in await one.order(1, acme)
            await simulator.clear_faults()
        await simulator.fault(on="login", times=1, reset=True)
        await simulator.control("sessions/kill", {"account": "acme"})
        assert "LoginUnavailable" in str(await one.order(1, acme))
        with pytest.raises(AssertionError):
            await one.order(1, "company/no-number")  # ends it with a traceback
        assert one.process.stderr is not None
        written = {"stdout": "".join(one.said), "stderr": (await one.process.stderr.read()).decode()}
    assert "session.login" in written["stdout"]
    assert "session.refused" in written["stdout"]
    assert "Traceback" in written["stderr"]
    for path in (tmp_path / "state").iterdir():
        written[path.name] = path.read_bytes().decode("latin-1")
    assert "store.db" in written
    expect_none(written, [*tokens, *SECRETS.values(), MISTYPED, HOOK_SECRET, sqlite_settings.key.reveal()])


async def test_no_secret_is_in_metrics_reprs_exceptions_or_what_the_commands_print(
    simulator: Simulator,
    sqlite_settings: StoreSettings,
    open_store: OpenStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = Site(tmp_path, simulator, sqlite_settings, login=QUICK)
    store, entity = await open_store(sqlite_settings), (await site.entity()).split("/")
    settings = read_settings(site.config)
    async with open_servicetrade(settings) as client:
        account = client.account("acme")
        await account.get(*entity)
        token, row = await token_of(store), await store.read("acme")
        written = {"reprs": f"{settings!r} {client!r} {account!r} {row!r} {await account._auth._sessions.current()!r}"}
        for number, fault in enumerate(TROUBLES):
            await simulator.fault(on="resource", **fault)
            with pytest.raises(ServiceTradeError) as caught:
                await account.get(*entity)
            await simulator.clear_faults()
            written[f"error {number}"] = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
    written["metrics"] = metrics.render().decode()
    for command in (["list"], ["show", "acme"], ["check"]):
        arguments = [*command, "--config", str(site.config)]
        await asyncio.to_thread(session_app, arguments, result_action="return_value")
    written["commands"] = capsys.readouterr().out
    assert "tradewind_servicetrade_logins_total" in written["metrics"]
    assert "SHA-256" in written["commands"]
    expect_none(written, [token, *SECRETS.values(), HOOK_SECRET, sqlite_settings.key.reveal()])


async def test_a_token_copied_from_the_database_is_useless_without_the_key(
    simulator: Simulator, sqlite_settings: StoreSettings, open_store: OpenStore, tmp_path: Path
) -> None:
    site = Site(tmp_path, simulator, sqlite_settings, login=QUICK)
    async with open_servicetrade(read_settings(site.config)) as client:
        await client.account("acme").get(*(await site.entity()).split("/"))
    token = await token_of(await open_store(sqlite_settings))
    with sqlite3.connect(tmp_path / "state" / "store.db") as database:
        (copied,) = database.execute("SELECT token FROM sessions WHERE account = 'acme'").fetchone()
    assert await simulator.status({"cookie": f"PHPSESSID={token}"}) == 200
    assert await simulator.status({"cookie": f"PHPSESSID={copied.decode()}"}) == 401
    assert token.encode() not in copied


def expect_none(written: dict[str, str], secrets: list[str]) -> None:
    assert all(secrets)
    assert not [(where, secret) for where, text in written.items() for secret in secrets if secret in text]
