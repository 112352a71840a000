"""Worker processes that share a store share its session, whatever is done to the session or to them."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from runtime.settings import LoginSettings, StoreSettings
from tests.servicetrade.conftest import OpenStore
from tests.servicetrade.site import Site, Worker, worker
from tests.simulator.support import Simulator, until

pytestmark = pytest.mark.anyio

PROCESSES, CALLS = 4, 25


async def start(stack: AsyncExitStack, site: Site, processes: int = PROCESSES) -> list[Worker]:
    return await asyncio.gather(*(stack.enter_async_context(worker(site)) for _ in range(processes)))


async def order(workers: list[Worker], calls: int, entity: str) -> list[dict[str, int]]:
    return await asyncio.gather(*(one.order(calls, entity) for one in workers))


async def test_all_sessions_killed_under_a_hundred_calls_of_four_processes_are_one_login_and_no_failed_call(
    simulator: Simulator, store_settings: StoreSettings, tmp_path: Path
) -> None:
    site = Site(tmp_path, simulator, store_settings, login=LoginSettings())
    entity = await site.entity()
    async with AsyncExitStack() as stack:
        workers = await start(stack, site)
        assert await order(workers, CALLS, entity) == [{"ok": CALLS}] * PROCESSES
        assert (await site.counts())["logins"] == 1
        await simulator.fault(on="resource", hold=True)
        under_way = asyncio.gather(*(one.order(CALLS, entity) for one in workers))
        await until(lambda: _held(site, "requests_held", PROCESSES * CALLS))
        assert await simulator.control("sessions/kill", {"account": "acme"}) == {"killed": 1}
        await simulator.clear_faults()
        assert await under_way == [{"ok": CALLS}] * PROCESSES
    counts = await site.counts()
    assert (counts["logins"], counts["live_sessions"], counts["peak_sessions"]) == (2, 1, 1)
    assert counts["unauthorized"] == PROCESSES * CALLS
    assert "DELETE auth" not in counts["requests"]


async def _held(site: Site, name: str, count: int) -> bool:
    return bool((await site.counts())[name] == count)


@pytest.mark.parametrize(
    ("store_settings", "login"),
    [("sqlite", LoginSettings()), ("postgresql", LoginSettings(answer_timeout_s=2, lease_s=5, interval_s=0.5))],
    indirect=["store_settings"],
)
async def test_a_lease_holder_killed_in_its_login_costs_one_login_more_and_no_call_of_the_others(
    simulator: Simulator, store_settings: StoreSettings, open_store: OpenStore, tmp_path: Path, login: LoginSettings
) -> None:
    site = Site(tmp_path, simulator, store_settings, login=login)
    entity, store = await site.entity(), await open_store(store_settings)
    async with AsyncExitStack() as stack:
        workers = await start(stack, site)
        assert await order(workers, 1, entity) == [{"ok": 1}] * PROCESSES
        await simulator.control("sessions/kill", {"account": "acme"})
        await simulator.fault(on="login", times=1, hold=True)
        under_way = [asyncio.create_task(one.order(CALLS, entity)) for one in workers]
        await until(lambda: _held(site, "logins_held", 1))
        holder = (await store.read("acme")).lease_owner
        assert holder is not None
        (victim,) = [one for one in workers if f":{one.process.pid}:" in holder]
        victim.process.kill()
        await simulator.clear_faults()
        survivors = [task for one, task in zip(workers, under_way, strict=True) if one is not victim]
        assert await asyncio.gather(*survivors) == [{"ok": CALLS}] * (PROCESSES - 1)
        with pytest.raises(AssertionError):
            await under_way[workers.index(victim)]
    counts = await site.counts()
    assert counts["logins"] <= 1 + 2
    assert counts["live_sessions"] <= 2, "the shared one, and the one that nobody was there to receive"


async def test_a_lease_holder_frozen_in_its_login_comes_back_to_the_session_that_another_made(
    simulator: Simulator, store_settings: StoreSettings, open_store: OpenStore, tmp_path: Path
) -> None:
    site = Site(tmp_path, simulator, store_settings, login=LoginSettings(answer_timeout_s=2, lease_s=5, interval_s=0.5))
    entity, store = await site.entity(), await open_store(store_settings)
    async with AsyncExitStack() as stack:
        frozen, other = await start(stack, site, 2)
        await simulator.fault(on="login", times=1, hold=True)
        waiting = asyncio.create_task(frozen.order(CALLS, entity))
        await until(lambda: _held(site, "logins_held", 1))
        frozen.process.send_signal(signal.SIGSTOP)
        assert await other.order(CALLS, entity) == {"ok": CALLS}
        frozen.process.send_signal(signal.SIGCONT)
        await simulator.clear_faults()
        assert await waiting == {"ok": CALLS}
    assert (await store.read("acme")).generation == 1
    assert (await site.counts())["logins"] == 2


@pytest.mark.parametrize(
    ("store_settings", "scale"), [("sqlite", 1.0), ("postgresql", 0.1)], indirect=["store_settings"]
)
async def test_while_logins_are_throttled_for_a_minute_only_that_account_waits_and_tries_no_more_often_than_it_may(
    simulator: Simulator, store_settings: StoreSettings, tmp_path: Path, scale: float
) -> None:
    login = LoginSettings(interval_s=5 * scale, longest_pause_s=15 * scale)
    throttled_for_s = 60 * scale
    site = Site(tmp_path, simulator, store_settings, login=login)
    acme, bolt = await site.entity("acme"), await site.entity("bolt")
    async with AsyncExitStack() as stack:
        workers = await start(stack, site, 2)
        await simulator.fault(on="login", status=429)
        began = time.monotonic()
        waiting = [asyncio.create_task(one.order(CALLS, acme, patient=True, within_s=180)) for one in workers]
        other = await stack.enter_async_context(worker(site))
        rounds = 0
        while time.monotonic() - began < throttled_for_s:
            assert await other.order(CALLS, bolt, account="bolt") == {"ok": CALLS}
            rounds += 1
            await asyncio.sleep(0.2)
        assert not any(task.done() for task in waiting)
        await simulator.clear_faults()
        throttled_s = time.monotonic() - began
        assert await asyncio.gather(*waiting) == [{"ok": CALLS}] * len(waiting)
    counts = await site.counts()
    assert counts["logins"] == 1
    assert 2 <= counts["login_attempts"] - 1 <= budget(login, throttled_s)
    assert rounds > 0
    assert (await site.counts("bolt"))["logins"] == 1


def budget(login: LoginSettings, seconds: float) -> int:
    """How many logins may fail within so many seconds: pauses grow twofold, without the chance that lengthens them."""
    attempts, at, pause = 0, 0.0, login.interval_s
    while at <= seconds:
        attempts, at, pause = attempts + 1, at + pause, min(2 * pause, login.longest_pause_s)
    return attempts


async def test_a_soak_of_ten_thousand_calls_logs_in_once_and_once_for_each_time_the_session_is_killed(
    simulator: Simulator, store_settings: StoreSettings, tmp_path: Path
) -> None:
    rounds, between_kills = 50, 200
    site = Site(tmp_path, simulator, store_settings, login=LoginSettings(interval_s=0))
    entity = await site.entity()

    async def served(target: int) -> bool:
        counts = await site.counts()
        return bool(counts["requests"]["GET company/{id}"] >= target and counts["live_sessions"] == 1)

    async with AsyncExitStack() as stack:
        workers = await start(stack, site)
        assert await order(workers, 1, entity) == [{"ok": 1}] * PROCESSES
        kills = 0
        for _ in range(rounds):
            before = (await site.counts())["requests"]["GET company/{id}"]
            under_way = asyncio.gather(*(one.order(between_kills // PROCESSES, entity) for one in workers))
            await until(lambda: served(before + between_kills // 2))  # noqa: B023 - awaited within the round
            kills += (await simulator.control("sessions/kill", {"account": "acme"}))["killed"]
            assert await under_way == [{"ok": between_kills // PROCESSES}] * PROCESSES
            # Perhaps no call was left to meet the dead session. Its successor must not die before its maker used it:
            # that fails the call, as it should.
            assert await order(workers, 1, entity) == [{"ok": 1}] * PROCESSES
    counts = await site.counts()
    assert kills == rounds
    assert (counts["logins"], counts["live_sessions"]) == (1 + kills, 1)
    assert counts["peak_sessions"] <= 2
