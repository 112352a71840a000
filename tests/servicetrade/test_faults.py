"""The client against every fault of the simulator's API, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.settings import LoginSettings, StoreSettings, read_settings
from schemas.errors import ApiError, ApiUnreachable, LoginRefused, LoginUnavailable, NotFound
from servicetrade.account import Account
from servicetrade.client import open_servicetrade
from tests.servicetrade.site import Site
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio

QUICK = LoginSettings(answer_timeout_s=1, lease_s=3, interval_s=0.02, longest_pause_s=0.1)


@pytest.fixture
def site(simulator: Simulator, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    return Site(tmp_path, simulator, sqlite_settings, login=QUICK)


@pytest.fixture
async def account(site: Site) -> AsyncIterator[Account]:
    async with open_servicetrade(read_settings(site.config)) as client:
        yield client.account("acme")


@pytest.fixture
async def entity(site: Site) -> tuple[str, str]:
    entity_type, entity_id = (await site.entity()).split("/")
    return entity_type, entity_id


async def test_the_session_is_asked_about_only_after_a_401(
    site: Site, account: Account, entity: tuple[str, str]
) -> None:
    for fault in ({"status": 500}, {"status": 429, "retry_after": 0.05}, {"malformed": True}, {"status": 403}):
        await site.simulator.fault(on="resource", times=1, **fault)
        with pytest.raises(ApiError):
            await account.get(*entity)
    with pytest.raises(NotFound):
        await account.get("company", 1)
    assert (await account.get(*entity))["id"] == int(entity[1])
    counts = await site.counts()
    assert (counts["logins"], counts["requests"].get("GET auth", 0)) == (1, 0)


async def test_a_get_whose_connection_is_cut_is_sent_once_more_and_a_write_is_not(
    site: Site, account: Account, entity: tuple[str, str]
) -> None:
    await account.get(*entity)
    await site.simulator.fault(on="resource", method="GET", times=1, reset=True)
    assert (await account.get(*entity))["id"] == int(entity[1])
    await site.simulator.fault(on="resource", method="GET", times=2, reset=True)
    with pytest.raises(ApiUnreachable):
        await account.get(*entity)
    await site.simulator.fault(on="resource", method="PUT", times=1, reset=True, processed=True)
    with pytest.raises(ApiUnreachable):
        await account.update(*entity, {"name": "Cut Off Ltd"})
    assert (await account.get(*entity))["name"] == "Cut Off Ltd"
    counts = await site.counts()
    assert (counts["requests"]["PUT company/{id}"], counts["logins"]) == (1, 1)


async def test_a_session_killed_between_login_and_first_use_fails_that_call_and_no_later_one(
    site: Site, account: Account, entity: tuple[str, str]
) -> None:
    await site.simulator.fault(on="login", times=2, kill_session=True)
    with pytest.raises(ApiError, match="401"):
        await account.get(*entity)
    assert (await account.get(*entity))["id"] == int(entity[1])
    counts = await site.counts()
    assert (counts["logins"], counts["live_sessions"]) == (3, 1)


async def test_a_pruned_session_is_replaced_and_the_others_of_the_user_are_left_alone(
    site: Site, account: Account, entity: tuple[str, str]
) -> None:
    await account.get(*entity)
    for _ in range(3):
        await site.simulator.login()
    assert await site.simulator.control("sessions/prune", {"account": "acme", "keep": 3}) == {"pruned": 1}
    await account.get(*entity)
    counts = await site.counts()
    assert (counts["logins"], counts["live_sessions"]) == (5, 4)


LOGIN_FAULTS: list[dict[str, Any]] = [
    {"status": 429},
    {"status": 429, "retry_after": 0.05},
    {"status": 503},
    {"delay_s": 1.5},
    {"reset": True},
    {"reset": True, "processed": True},
    {"malformed": True},
]


@pytest.mark.parametrize("fault", LOGIN_FAULTS, ids=" ".join)
async def test_a_login_that_brings_no_session_fails_the_call_and_is_tried_again(
    site: Site, account: Account, entity: tuple[str, str], fault: dict[str, Any]
) -> None:
    await site.simulator.fault(on="login", times=1, **fault)
    with pytest.raises(LoginUnavailable):
        await account.get(*entity)
    assert (await account.get(*entity))["id"] == int(entity[1])
    assert (await site.counts())["login_attempts"] == 2


async def test_a_login_answered_403_stops_the_account_and_no_other(site: Site) -> None:
    await site.simulator.fault(on="login", status=403)
    acme, bolt = await site.entity("acme"), await site.entity("bolt")
    async with open_servicetrade(read_settings(site.config)) as client:
        for _ in range(3):
            with pytest.raises(LoginRefused):
                await client.account("acme").get(*acme.split("/"))
            assert await client.account("bolt").get(*bolt.split("/"))
    assert (await site.counts())["login_attempts"] == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"reset": True}, {"malformed": True}, {"delay_s": 1.5}])
async def test_when_nobody_can_tell_whether_the_session_lives_it_is_kept(
    site: Site, account: Account, entity: tuple[str, str], fault: dict[str, Any]
) -> None:
    await account.get(*entity)
    await site.simulator.fault(on="resource", times=1, status=401, body="")
    await site.simulator.fault(on="auth", times=1, **fault)
    with pytest.raises(LoginUnavailable):
        await account.get(*entity)
    assert (await account.get(*entity))["id"] == int(entity[1])
    assert (await site.counts())["logins"] == 1


async def test_lists_are_read_through_every_page_in_both_shapes(site: Site, account: Account) -> None:
    for shape in ("flat", "compound"):
        await site.simulator.control("switches", {"account": "acme", "switches": {"shape": shape}})
        every = [item["id"] async for item in account.list("location", {"limit": 3})]
        assert len(every) == len(set(every)) > 3
        assert every == [item["id"] async for item in account.list("location")]
        jobs = {item["status"] async for item in account.list("job")}
        assert jobs > {"scheduled"} or jobs == set()
