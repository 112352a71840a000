"""Requests that a fault holds or delays, and sessions that it ends, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.simulator.support import Simulator, client, running, until

pytestmark = pytest.mark.anyio


async def test_a_held_login_waits_until_the_fault_is_cleared_and_then_works(simulator: Simulator) -> None:
    fault = await simulator.fault(on="login", hold=True)
    other = await simulator.fault(on="auth", status=500)
    held = [asyncio.create_task(simulator.try_login()) for _ in range(3)]
    await simulator.reaches(logins_held=3, login_attempts=3, logins=0, live_sessions=0)
    assert await simulator.clear_faults("acme", other["id"]) == 1
    assert await simulator.clear_faults("bolt") == 0
    await simulator.reaches(logins_held=3)
    assert await simulator.clear_faults(id_=fault["id"]) == 1
    assert [(await one).status_code for one in held] == [200] * 3
    await simulator.reaches(logins_held=0, login_attempts=3, logins=3, live_sessions=3)


async def test_a_held_request_gets_the_faults_other_effect_when_it_is_released(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", hold=True, status=503, times=1)
    held = asyncio.create_task(simulator.http.post("/api/contact", json={"name": "held"}, headers=headers))
    await simulator.struck(1)
    assert await simulator.status(headers) == 200
    assert not held.done()
    await simulator.clear_faults()
    assert (await held).status_code == 503
    assert "held" not in await simulator.names("contact")


async def test_a_held_login_that_was_processed_has_a_session_before_its_answer(simulator: Simulator) -> None:
    await simulator.fault(on="login", hold=True, processed=True)
    held = asyncio.create_task(simulator.try_login())
    await simulator.reaches(logins_held=1, logins=1, live_sessions=1)
    await simulator.clear_faults()
    token = (await held).json()["data"]["authToken"]
    assert await simulator.status({"cookie": f"PHPSESSID={token}"}) == 200


async def test_a_request_whose_client_gave_up_while_it_was_held_is_worked_on_all_the_same(
    simulator: Simulator,
) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", method="POST", hold=True)
    held = asyncio.create_task(simulator.http.post("/api/contact", json={"name": "late"}, headers=headers))
    await simulator.struck(1)
    held.cancel()
    await asyncio.wait([held])
    await simulator.clear_faults()

    async def written() -> bool:
        return "late" in await simulator.names("contact")

    await until(written)


async def test_a_reset_of_a_connection_that_its_client_has_closed_harms_nobody(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    headers = await simulator.login()
    await simulator.fault(on="login", hold=True, reset=True)
    held = asyncio.create_task(simulator.try_login())
    await simulator.reaches(logins_held=1)
    held.cancel()
    await asyncio.wait([held])
    await simulator.clear_faults()
    await simulator.reaches(logins_held=0)
    assert await simulator.status(headers) == 200
    assert caplog.records == []


async def test_a_delayed_answer_comes_after_those_that_were_asked_for_later(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", path="job", delay_s=86_400, times=1)
    await simulator.fault(on="resource", path="quote", delay_s=0.05)
    endless = asyncio.create_task(simulator.http.get("/api/job", headers=headers))
    await simulator.struck(1)
    assert (await simulator.http.get("/api/quote", headers=headers)).status_code == 200
    assert [one["struck"] for one in await simulator.faults()] == [1, 1]
    assert not endless.done()
    endless.cancel()
    await asyncio.wait([endless])


async def test_the_server_stops_at_once_though_requests_are_held_and_delayed() -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running() as simulator:
            headers = await simulator.login()
            http = await stack.enter_async_context(client(simulator.url))
            await simulator.fault(on="resource", hold=True, times=1)
            await simulator.fault(on="resource", delay_s=3600, times=1)
            waiting = [asyncio.create_task(http.get("/api/company", headers=headers)) for _ in range(2)]
            await simulator.struck(2)
        assert [(await one).status_code for one in waiting] == [200, 200]


async def test_a_session_can_be_dead_before_its_first_use(simulator: Simulator) -> None:
    await simulator.fault(on="login", kill_session=True, times=1)
    first, second = await simulator.login(), await simulator.login()
    assert [await simulator.status(one) for one in (first, second)] == [401, 200]
    counters = await simulator.counters()
    assert (counters["logins"], counters["live_sessions"], counters["peak_sessions"]) == (2, 1, 1)


async def test_a_wrong_login_under_a_killing_fault_harms_no_session(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="login", kill_session=True)
    assert (await simulator.try_login(password="wrong")).status_code == 403
    assert await simulator.status(headers) == 200


async def test_a_session_can_end_at_the_request_that_uses_it(simulator: Simulator) -> None:
    one, two, three = [await simulator.login() for _ in range(3)]
    await simulator.fault(on="resource", kill_session=True, times=1)
    await simulator.fault(on="auth", method="GET", kill_session=True, times=1)
    await simulator.fault(on="resource", path="quote", kill_session=True, status=503)
    assert [await simulator.status(headers) for headers in (one, one, two)] == [401, 401, 200]
    assert [(await simulator.http.get("/api/auth", headers=headers)).status_code for headers in (two, three)] == [
        404,
        200,
    ]
    assert (await simulator.http.get("/api/quote", headers=three)).status_code == 503
    assert await simulator.status(three) == 401
