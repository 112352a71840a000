"""What the doctor says of accounts on ServiceTrade, and how often it logs in for that: once, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from doctor.patience import Patience
from runtime.broker_config import free_port
from runtime.settings import StoreSettings, read_settings
from servicetrade.client import open_servicetrade
from tests.doctor.examining import FAILED, NOT_CHECKED, OK, WARNING, Report, examined, make_store, silent_server
from tests.servicetrade.conftest import OpenStore
from tests.servicetrade.site import HOOK_SECRET, SECRETS, Site
from tests.servicetrade.subscribing import NEWER, expect_no_secret, public_site, url_with
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio

Examine = Callable[..., Awaitable[Report]]


@pytest.fixture
async def site(simulator: Simulator, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    await make_store(sqlite_settings)
    return public_site(simulator, sqlite_settings, tmp_path)


@pytest.fixture
def examine(site: Site) -> Examine:
    async def run(*, login: bool = True, patience: Patience | None = None) -> Report:
        report = await examined(site.config, login=login, patience=patience)
        expect_no_secret(repr(report))
        return report

    return run


async def use(site: Site, account: str = "acme") -> None:
    """Do what a worker does: it makes the session if there is none."""
    async with open_servicetrade(read_settings(site.config)) as client:
        await client.account(account).get(*(await site.entity(account)).split("/"))


async def test_an_account_without_a_session_is_logged_in_once_and_the_fleet_uses_that_session(
    site: Site, examine: Examine
) -> None:
    report = await examine()
    assert report.states("servicetrade") == {"acme": OK, "bolt": OK}
    assert report.one("servicetrade", "acme").what == (
        "there is a new session of acme-api: generation 1, which all processes share"
    )
    for _ in range(2):
        await use(site)
        counts = await site.counts()
        assert (counts["login_attempts"], counts["live_sessions"]) == (1, 1)
        await examine()


async def test_a_session_that_works_is_used_and_nobody_logs_in(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    await use(site)
    await use(site, "bolt")
    await simulator.subscribe(url_with(HOOK_SECRET))
    before = (await site.counts())["login_attempts"]
    for login in (True, False):
        report = await examine(login=login)
        found = report.one("servicetrade", "acme")
        assert found.state is OK
        assert found.what.startswith("the shared session lives (generation 1, made ")
        assert found.what.endswith("no login was needed")
        assert report.one("subscriptions", "acme").state is OK
    assert (await site.counts())["login_attempts"] == before


async def test_a_session_that_is_dead_is_replaced_with_one_login(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    await use(site)
    await simulator.control("sessions/kill", {})
    report = await examine()
    assert "generation 2" in report.one("servicetrade", "acme").what
    assert (await site.counts())["login_attempts"] == 2
    await use(site)
    assert (await site.counts())["login_attempts"] == 2


async def test_a_session_that_does_not_outlive_its_login_is_not_followed_by_another(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    await simulator.fault(on="resource", path="webhook", status=401)
    report = await examine()
    assert report.one("servicetrade", "acme").state is OK
    hooks = report.one("subscriptions", "acme")
    assert (hooks.state, hooks.what) == (FAILED, "ServiceTrade does not show its webhooks: HTTP 401")
    assert (await site.counts())["login_attempts"] == 1


async def test_nobody_is_logged_in_who_shall_not_be(site: Site, simulator: Simulator, examine: Examine) -> None:
    await use(site)
    await simulator.control("sessions/kill", {})
    report = await examine(login=False)
    dead, none = report.one("servicetrade", "acme"), report.one("servicetrade", "bolt")
    assert [one.state for one in (dead, none)] == [NOT_CHECKED, NOT_CHECKED]
    assert dead.what == "the session in the store is dead; not asked to log in (--no-login)"
    assert none.what.startswith("there is no session of these credentials in the store; ")
    assert set(report.states("subscriptions").values()) == {NOT_CHECKED}
    assert [(await site.counts(account))["login_attempts"] for account in ("acme", "bolt")] == [1, 0]


async def test_a_wrong_password_is_tried_once_and_then_the_account_is_locked(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    site.write_secret("acme", "mistyped")
    wrong = (await examine()).one("servicetrade", "acme")
    assert wrong.state is FAILED
    assert "refuses user name or password: login refused: Invalid credentials provided" in wrong.what
    assert "accounts.acme: username and password" in wrong.do
    assert "`tradewind session unlock acme`" in wrong.do
    locked = (await examine()).one("servicetrade", "acme")
    assert (locked.state, locked.what.startswith("locked: a login with these credentials was refused")) == (
        FAILED,
        True,
    )
    assert (await simulator.counters())["login_attempts"] == 1
    site.write_secret("acme", SECRETS["acme"])
    assert (await examine()).one("servicetrade", "acme").state is OK
    assert (await simulator.counters())["login_attempts"] == 2


async def test_a_wrong_new_password_does_not_hide_that_the_old_session_lives(site: Site, examine: Examine) -> None:
    await use(site)
    site.write_secret("acme", "mistyped")
    assert (await examine()).one("servicetrade", "acme").state is FAILED
    site.write_secret("acme", SECRETS["acme"])
    assert "the shared session lives" in (await examine()).one("servicetrade", "acme").what
    assert (await site.counts())["login_attempts"] == 2


async def test_throttled_logins_are_told_and_the_pause_that_follows_is_kept(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    await simulator.fault(on="login", status=429, retry_after=600)
    throttled = (await examine()).one("servicetrade", "acme")
    assert throttled.state is FAILED
    assert throttled.what.startswith("logins are throttled: account acme: login throttled: HTTP 429")
    assert throttled.what.endswith("the next try in 10 min")
    assert "wait" in throttled.do
    paused = (await examine()).one("servicetrade", "acme")
    assert (paused.state, paused.what.startswith("logins are paused for ")) == (FAILED, True)
    assert paused.what.endswith("after 1 failed")
    assert (await site.counts())["login_attempts"] == 1


async def test_a_session_of_another_key_is_neither_used_nor_replaced(site: Site, examine: Examine) -> None:
    await use(site)
    site.write_secret("store", Fernet.generate_key().decode())
    report = await examine()
    assert report.one("store", "store.key").state is FAILED
    assert report.one("servicetrade", "acme").what == "store.key does not open the session that is in the store"
    counts = await site.counts()
    assert (counts["login_attempts"], counts["live_sessions"]) == (1, 1)


async def test_servicetrade_that_is_not_there_is_told_for_each_account(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    site.config.write_text(site.config.read_text().replace(simulator.url, f"http://127.0.0.1:{free_port()}"))
    report = await examine()
    assert report.states("servicetrade") == {"acme": FAILED, "bolt": FAILED}
    found = report.one("servicetrade", "acme")
    assert "ServiceTrade gives no session: account acme: POST /auth: no answer (ConnectError)" in found.what
    assert "servicetrade.base_url" in found.do
    assert report.states("subscriptions") == {"acme": NOT_CHECKED, "bolt": NOT_CHECKED}


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_said(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    async with silent_server() as where:
        text = site.config.read_text().replace(simulator.url, f"http://{where}")
        site.config.write_text(text.replace("answer_timeout_s = 5", "answer_timeout_s = 0.4"))
        report = await examine(patience=Patience(session_s=0.2))
    assert report.one("servicetrade", "acme").what.startswith("no session within 0.2 s")


async def test_a_login_of_another_process_is_waited_for_and_not_doubled(
    site: Site, examine: Examine, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    store = await open_store(sqlite_settings)
    assert await store.try_lease("acme", "another", 0, 30) is not None
    report = await examine(patience=Patience(session_s=0.3))
    assert "a login of another process" in report.one("servicetrade", "acme").what
    assert (await site.counts())["login_attempts"] == 0


async def test_a_subscription_is_judged_by_the_live_secrets(site: Site, simulator: Simulator, examine: Examine) -> None:
    none = (await examine()).one("subscriptions", "acme")
    assert none.state is FAILED
    assert none.what.startswith("no webhook leads to https://hooks.example.com/st/webhooks/acme/… with a live secret")
    assert none.do == "`tradewind subscribe acme`"
    await simulator.subscribe(url_with(HOOK_SECRET))
    fine = (await examine()).one("subscriptions", "acme")
    assert (fine.state, "tells of everything, with changesets" in fine.what) == (OK, True)
    site.write_secret("hook", f"{HOOK_SECRET}\n{NEWER}\n")
    old = (await examine()).one("subscriptions", "acme")
    assert (old.state, "leads to the old secret: it works until that is retired" in old.what) == (WARNING, True)
    site.write_secret("hook", NEWER)
    failed, retired = (await examine()).of("subscriptions", "acme")
    assert (failed.state, retired.state) == (FAILED, WARNING)
    assert "to a secret that ingest does not know: what is sent there is lost" in retired.what


async def test_a_user_who_may_not_see_webhooks_is_told_the_permission(
    site: Site, simulator: Simulator, examine: Examine
) -> None:
    await simulator.control(
        "accounts", {"name": "dash", "username": "dash-api", "password": "secret-d", "admin": False}
    )
    site.write_secret("dash", "secret-d")
    table = '[accounts.dash]\nusername = "dash-api"\npassword = { file = "dash" }\nhook_secret = { file = "hook" }\n'
    site.config.write_text(site.config.read_text() + table)
    found = (await examine()).one("subscriptions", "dash")
    assert (found.state, found.what) == (FAILED, "the ServiceTrade user dash-api may not see webhooks")
    assert "admin.account" in found.do


async def test_without_a_public_url_nobody_can_tell_which_webhooks_are_ours(site: Site, examine: Examine) -> None:
    public = [line for line in site.config.read_text().splitlines() if not line.startswith("public_url")]
    site.config.write_text("\n".join(public))
    report = await examine()
    assert report.one("ingest", "ingest.public_url").state is WARNING
    assert report.one("subscriptions", "acme").state is NOT_CHECKED
