"""`tradewind session`, as the operator of two accounts uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from cli.session import session_app
from runtime.settings import LoginSettings, StoreSettings, read_settings
from schemas.errors import ApiUnreachable, LoginRefused, LoginUnavailable, SettingsError, StoreError
from servicetrade.client import ServiceTradeClient, open_servicetrade
from tests.servicetrade.conftest import OpenStore
from tests.servicetrade.site import SECRETS, Site
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio

QUICK = LoginSettings(answer_timeout_s=1, lease_s=3, interval_s=0)
Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def site(simulator: Simulator, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    return Site(tmp_path, simulator, sqlite_settings, login=QUICK)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[ServiceTradeClient]:
    async with open_servicetrade(read_settings(site.config)) as opened:
        yield opened


@pytest.fixture
def run(site: Site, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tradewind session ...`; returns the exit code and what it printed."""

    def in_a_thread(*arguments: str) -> int:
        code = session_app([*arguments, "--config", str(site.config)], result_action="return_value")
        assert isinstance(code, int)
        return code

    async def runner(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(in_a_thread, *arguments)
        return code, capsys.readouterr().out

    return runner


async def call(site: Site, client: ServiceTradeClient, account: str = "acme") -> None:
    await client.account(account).get(*(await site.entity(account)).split("/"))


async def test_list_shows_every_account_in_a_line(site: Site, client: ServiceTradeClient, run: Run) -> None:
    await call(site, client)
    code, printed = await run("list")
    assert code == 0
    head, acme, bolt = printed.splitlines()
    assert head.split() == ["account", "session", "generation", "made", "next", "login"]
    assert acme.split()[:3] == ["acme", "live", "1"]
    assert acme.endswith("when it is needed")
    assert bolt.split()[:4] == ["bolt", "none", "0", "-"]


async def test_show_tells_all_but_the_token(
    site: Site, client: ServiceTradeClient, run: Run, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    await call(site, client)
    token = (await (await open_store(sqlite_settings)).read("acme")).token
    assert token is not None
    code, printed = await run("show", "acme")
    assert code == 0
    assert "26 characters, SHA-256" in printed
    assert "the configured credentials" in printed
    assert token.reveal() not in printed
    site.write_secret("store", Fernet.generate_key().decode())
    _, printed = await run("show", "acme")
    assert "encrypted with a key that store.key does not hold" in printed


async def test_check_asks_servicetrade_and_never_logs_in(site: Site, client: ServiceTradeClient, run: Run) -> None:
    await call(site, client)
    assert await run("check", "acme") == (0, "acme: lives\n")
    assert await run("check") == (1, "acme: lives\nbolt: none; the next request logs in\n")
    await site.simulator.control("sessions/kill", {})
    assert await run("check", "acme") == (1, "acme: is dead; the next request replaces it\n")
    await site.simulator.fault(on="auth", status=503)
    code, printed = await run("check", "acme")
    assert code == 1
    assert printed.startswith("acme: cannot be told: asking for the session: HTTP 503")
    assert (await site.counts())["logins"] == 1


async def test_a_dropped_session_is_ended_and_all_workers_get_the_same_new_one(
    site: Site, client: ServiceTradeClient, run: Run
) -> None:
    await call(site, client)
    assert await run("drop", "acme") == (0, "acme: the session was ended\n")
    assert (await site.counts())["live_sessions"] == 0
    assert await run("drop", "acme") == (0, "acme: there was no session\n")
    async with open_servicetrade(read_settings(site.config)) as another:
        await asyncio.gather(call(site, client), call(site, another))
    counts = await site.counts()
    assert (counts["logins"], counts["live_sessions"]) == (2, 1)


async def test_a_session_that_cannot_be_ended_or_is_in_hand_stays_as_it_is(
    site: Site, client: ServiceTradeClient, run: Run, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    await call(site, client)
    await site.simulator.fault(on="auth", method="DELETE", status=503)
    with pytest.raises(ApiUnreachable, match="503"):
        await run("drop", "acme")
    assert await run("check", "acme") == (0, "acme: lives\n")
    assert await (await open_store(sqlite_settings)).try_lease("acme", "a worker", 1, 3) is not None
    with pytest.raises(LoginUnavailable, match="busy"):
        await run("drop", "acme")


async def test_a_session_that_cannot_be_read_is_forgotten(site: Site, client: ServiceTradeClient, run: Run) -> None:
    await call(site, client)
    site.write_secret("store", Fernet.generate_key().decode())
    _, printed = await run("list")
    assert "unreadable" in printed
    assert await run("drop", "acme") == (0, "acme: forgotten, but not ended: store.key does not hold its key\n")
    assert (await run("check", "acme"))[1] == "acme: none; the next request logs in\n"


async def test_a_refused_account_is_shown_with_what_to_do_and_works_again_after_an_unlock(site: Site, run: Run) -> None:
    site.write_secret("acme", "mistyped")
    async with open_servicetrade(read_settings(site.config)) as wrong:
        with pytest.raises(LoginRefused):
            await call(site, wrong)
    code, printed = await run("list")
    assert code == 1
    assert "not with these credentials" in printed
    shown = " ".join((await run("show", "acme"))[1].split())
    assert "Invalid credentials provided" in shown
    assert "or `tradewind session unlock acme`" in shown
    assert await run("unlock", "acme") == (0, "acme: logins are allowed again\n")
    assert (await run("list"))[0] == 0
    site.write_secret("acme", SECRETS["acme"])
    async with open_servicetrade(read_settings(site.config)) as right:
        await call(site, right)
    assert (await site.counts())["login_attempts"] == 2


async def test_a_paused_account_is_shown_with_how_long(site: Site, client: ServiceTradeClient, run: Run) -> None:
    await site.simulator.fault(on="login", status=429, retry_after=600)
    with pytest.raises(LoginUnavailable):
        await call(site, client)
    code, printed = await run("list")
    assert code == 0
    assert "paused" in printed
    assert "s at the earliest, 1 failed" in printed
    assert await run("unlock", "acme") == (0, "acme: logins are allowed again\n")
    assert "when it is needed" in (await run("show", "acme"))[1]


async def test_a_session_made_with_other_credentials_is_told_apart(
    site: Site, client: ServiceTradeClient, run: Run
) -> None:
    await call(site, client)
    site.write_secret("acme", "another password")
    assert "other credentials than the configured ones" in (await run("show", "acme"))[1]


@pytest.mark.parametrize("command", ["show", "check", "drop", "unlock"])
@pytest.mark.usefixtures("client")
async def test_an_account_that_is_not_configured_is_said(run: Run, command: str) -> None:
    with pytest.raises(SettingsError, match="zebra: no such account; configured: acme, bolt"):
        await run(command, "zebra")


async def test_a_store_that_is_not_there_is_said_and_not_made(site: Site, run: Run, tmp_path: Path) -> None:
    assert site.config.exists()
    with pytest.raises(StoreError, match=r"store\.url: .*store\.db is not there"):
        await run("list")
    assert not (tmp_path / "state").exists()
