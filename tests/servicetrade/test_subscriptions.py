"""Subscribing where something goes wrong on the way, or others do the same at the same time."""

from __future__ import annotations

import asyncio
import json
import traceback
from pathlib import Path

import pytest

from runtime.settings import Settings, StoreSettings, read_settings
from schemas.errors import ApiError, ApiUnreachable, NotFound, ServiceTradeError
from servicetrade.client import open_servicetrade
from servicetrade.subscription_plan import Action, Hook, Wanted
from servicetrade.subscriptions import Subscriptions, owner_of
from tests.servicetrade.site import HOOK_SECRET, Site
from tests.servicetrade.subscribing import ECHOES, NEWER, RETIRED, expect_no_secret, hooks, public_site, url_with
from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def site(simulator: Simulator, sqlite_settings: StoreSettings, tmp_path: Path) -> Site:
    return public_site(simulator, sqlite_settings, tmp_path)


async def trouble(settings: Settings, account: str = "acme") -> tuple[Hook | None, list[Action]]:
    """Subscribe as the command does, without the command."""
    done: list[Action] = []
    async with open_servicetrade(settings) as client:
        wanted = Wanted(owner=owner_of(settings, account))
        return await Subscriptions(settings, client, account).subscribe(wanted, done.append), done


async def test_many_at_a_time_come_to_the_same_one_webhook(site: Site, simulator: Simulator) -> None:
    settings = read_settings(site.config)
    outcomes = await asyncio.gather(*(trouble(settings) for _ in range(4)))
    (left,) = (await hooks(simulator)).values()
    assert {right.id for right, _ in outcomes if right is not None} == {left["id"]}


async def test_a_webhook_that_vanishes_before_it_is_changed_is_looked_for_once_more(
    site: Site, simulator: Simulator
) -> None:
    await simulator.subscribe(url_with(HOOK_SECRET), enabled=False)
    await simulator.fault(on="resource", method="PUT", path="webhook/*", status=404, times=1)
    _, done = await trouble(read_settings(site.config))
    assert len(done) == 1
    await simulator.clear_faults()
    hook = (await hooks(simulator))[url_with(HOOK_SECRET)]
    await simulator.http.put(
        f"/api/webhook/{hook['id']}", json={"enabled": False}, headers=await simulator.login("acme")
    )
    await simulator.fault(on="resource", method="PUT", path="webhook/*", status=404)
    with pytest.raises(NotFound, match="account acme: ServiceTrade did not change webhook"):
        await trouble(read_settings(site.config))
    assert (await simulator.faults())[0]["struck"] == 2


async def test_a_webhook_that_another_put_right_in_between_is_left_alone(site: Site, simulator: Simulator) -> None:
    shown = await simulator.subscribe(url_with(HOOK_SECRET))
    stale = json.dumps({"data": {"webhooks": [{**shown, "enabled": False}]}})
    await simulator.fault(on="resource", method="GET", path="webhook", status=200, body=stale, times=1)
    await simulator.fault(on="resource", method="PUT", path="webhook/*", status=404)
    right, done = await trouble(read_settings(site.config))
    assert done == []
    assert right is not None
    assert right.enabled


async def test_a_webhook_that_is_gone_when_it_shall_be_deleted_is_done(site: Site, simulator: Simulator) -> None:
    await simulator.subscribe(url_with(HOOK_SECRET))
    await simulator.subscribe(url_with(RETIRED))
    await simulator.fault(on="resource", method="DELETE", path="webhook/*", status=404, processed=True)
    _, done = await trouble(read_settings(site.config))
    assert len(done) == 1
    assert set(await hooks(simulator)) == {url_with(HOOK_SECRET)}


async def test_a_lost_answer_makes_no_second_webhook(site: Site, simulator: Simulator) -> None:
    settings = read_settings(site.config)
    await simulator.fault(on="resource", method="POST", path="webhook", reset=True, processed=True, times=1)
    with pytest.raises(ApiUnreachable, match="no answer"):
        await trouble(settings)
    assert (await trouble(settings))[1] == []
    assert set(await hooks(simulator)) == {url_with(HOOK_SECRET)}


async def test_nothing_is_deleted_before_servicetrade_shows_the_right_one(site: Site, simulator: Simulator) -> None:
    old = await simulator.subscribe(url_with(HOOK_SECRET))
    site.write_secret("hook", f"{HOOK_SECRET} {NEWER}")
    stale = json.dumps({"data": {"webhooks": [old]}})
    await simulator.fault(on="resource", method="GET", path="webhook", status=200, body=stale)
    with pytest.raises(ServiceTradeError, match="does not show it as it was asked to be; nothing was deleted"):
        await trouble(read_settings(site.config))
    await simulator.clear_faults()
    assert set(await hooks(simulator)) == {url_with(HOOK_SECRET), url_with(NEWER)}
    assert (await simulator.counters())["requests"]["POST webhook"] == 2


async def test_a_list_that_cannot_be_read_is_said(site: Site, simulator: Simulator) -> None:
    body = json.dumps({"data": {"webhooks": [{"hookUrl": url_with(HOOK_SECRET)}]}})
    await simulator.fault(on="resource", method="GET", path="webhook", status=200, body=body)
    with pytest.raises(ServiceTradeError, match="account acme: ServiceTrade shows a webhook without an id"):
        await trouble(read_settings(site.config))


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_an_answer_that_repeats_the_url_is_told_without_it(site: Site, simulator: Simulator, status: int) -> None:
    body = json.dumps({"messages": {"error": list(ECHOES)}})
    await simulator.fault(on="resource", method="POST", path="webhook", status=status, body=body)
    with pytest.raises(ApiError) as caught:
        await trouble(read_settings(site.config))
    assert "not reachable" in str(caught.value)
    expect_no_secret("".join(traceback.format_exception(caught.value)))
    expect_no_secret(f"{caught.value.__dict__} {caught.value.args} {caught.value.__context__}")
