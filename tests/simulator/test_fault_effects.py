"""What a fault makes of an answer, and which requests it strikes, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import pytest

from tests.simulator.support import Simulator, running

pytestmark = pytest.mark.anyio


async def raw_request(url: str, head: str) -> bytes:
    """What comes back on a plain socket; an error of the connection is raised as it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    try:
        writer.write(head.encode())
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_status_comes_instead_of_the_work_as_often_as_asked(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", status=503, times=2)
    answers = [await simulator.http.post("/api/contact", json={"name": "new"}, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].json() == {"messages": {"error": ["Failing on purpose with 503"]}, "data": None}
    assert (await simulator.names("contact")).count("new") == 1


async def test_a_throttled_login_says_when_to_come_back_whatever_the_password(simulator: Simulator) -> None:
    await simulator.fault(on="login", status=429, retry_after=2, times=2)
    await simulator.fault(on="login", status=403, retry_after="Wed, 21 Oct 2026 07:28:00 GMT", times=1)
    answers = [await simulator.try_login(password=password) for password in (None, "wrong", None, "wrong", None)]
    assert [answer.status_code for answer in answers] == [429, 429, 403, 403, 200]
    assert [answer.headers.get("retry-after") for answer in answers] == [
        *("2", "2", "Wed, 21 Oct 2026 07:28:00 GMT"),
        *(None, None),
    ]
    counters = await simulator.counters()
    assert {name: counters[name] for name in ("login_attempts", "logins", "logins_refused", "live_sessions")} == {
        "login_attempts": 5,
        "logins": 1,
        "logins_refused": 1,
        "live_sessions": 1,
    }


async def test_headers_and_body_of_an_answer_can_be_chosen(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(
        on="resource",
        status=502,
        headers={"Content-Type": "text/html", "X-Cache": "caf\xe9"},
        body="<h1>b\xe4d</h1>",
        times=1,
    )
    await simulator.fault(on="resource", status=401, body="", times=1)
    await simulator.fault(on="resource", status=302, headers={"location": "/elsewhere"}, times=1)
    await simulator.fault(on="resource", status=204, times=1)
    answers = [await simulator.http.get("/api/job", headers=headers) for _ in range(4)]
    assert [(one.status_code, one.text) for one in answers] == [
        (502, "<h1>b\xe4d</h1>"),
        (401, ""),
        (302, ""),
        (204, ""),
    ]
    assert (answers[0].headers["content-type"], answers[0].headers["x-cache"]) == ("text/html", "caf\xe9")
    assert answers[2].headers["location"] == "/elsewhere"


async def test_a_reset_reaches_the_client_as_one_and_nothing_of_an_answer_before_it(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", reset=True, times=1)
    request = f"GET /api/job HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {headers['cookie']}\r\n\r\n"
    with pytest.raises(ConnectionResetError):
        await raw_request(simulator.url, request)
    assert (await raw_request(simulator.url, request)).startswith(b"HTTP/1.1 200 OK")


async def test_a_reset_leaves_no_complaint_of_the_server(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", reset=True, times=2)
    for request in ({"method": "GET"}, {"method": "POST", "content": b"x" * 500_000}):
        with pytest.raises(httpx.TransportError):
            await simulator.http.request(url="/api/job", headers=headers, **request)
    assert await simulator.status(headers) == 200
    assert caplog.records == []


async def test_a_malformed_answer_is_a_200_that_is_no_json(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", malformed=True, times=1)
    await simulator.fault(on="login", malformed=True, times=1)
    for answer in (await simulator.http.get("/api/job", headers=headers), await simulator.try_login()):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert "set-cookie" not in answer.headers
        with pytest.raises(json.JSONDecodeError):
            answer.json()
    assert (await simulator.counters())["logins"] == 1


LOST: tuple[dict[str, Any], ...] = ({"reset": True}, {"status": 504}, {"malformed": True})


@pytest.mark.parametrize("effect", LOST, ids=str)
async def test_a_processed_login_has_made_its_session_though_the_answer_is_lost(
    simulator: Simulator, effect: dict[str, Any]
) -> None:
    await simulator.fault(on="login", processed=True, times=2, **effect)
    for password in (None, "wrong"):
        with contextlib.suppress(httpx.ReadError):
            assert "set-cookie" not in (await simulator.try_login(password=password)).headers
    counters = await simulator.counters()
    assert (counters["logins"], counters["logins_refused"], counters["live_sessions"]) == (1, 1, 1)


@pytest.mark.parametrize("effect", LOST, ids=str)
async def test_a_processed_create_has_written_its_entity_though_the_answer_is_lost(
    simulator: Simulator, effect: dict[str, Any]
) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", method="POST", path="contact", processed=True, times=1, **effect)
    with contextlib.suppress(httpx.ReadError):
        lost = await simulator.http.post("/api/contact", json={"name": "lost"}, headers=headers)
        assert "lost" not in lost.text
    assert (await simulator.names("contact")).count("lost") == 1


async def test_a_refusal_by_the_work_is_replaced_too(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", processed=True, status=503, times=1)
    answers = [await simulator.http.post("/api/job", content=b"{", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 400]


async def test_asking_whether_a_session_lives_and_logging_out_can_fail(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="auth", method="GET", status=500)
    await simulator.fault(on="auth", method="DELETE", status=503)
    assert (await simulator.http.get("/api/auth", headers=headers)).status_code == 500
    assert (await simulator.http.delete("/api/auth", headers=headers)).status_code == 503
    assert (await simulator.try_login()).status_code == 200
    await simulator.clear_faults()
    assert (await simulator.http.get("/api/auth", headers=headers)).status_code == 200


async def test_a_fault_strikes_only_the_method_and_the_path_it_names(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.fault(on="resource", method="GET", path="company", status=503)
    await simulator.fault(on="resource", path="job/*", status=502)
    asked = (("GET", "company?page=1"), ("POST", "company"), ("GET", "user"), ("GET", "job"), ("PUT", "job/13"))
    answers = [await simulator.http.request(method, f"/api/{path}", json={}, headers=headers) for method, path in asked]
    assert [answer.status_code for answer in answers] == [503, 200, 200, 200, 502]


async def test_the_same_seed_strikes_the_same_requests() -> None:
    seen = []
    for seed in (5, 5, 6):
        async with running(seed=seed) as simulator:
            headers = await simulator.login()
            await simulator.fault(on="resource", status=503, ratio=0.3)
            seen.append([await simulator.status(headers) for _ in range(60)])
            assert (await simulator.faults())[0]["struck"] == seen[-1].count(503)
    assert seen[0] == seen[1] != seen[2]
    assert 8 <= seen[0].count(503) <= 28


async def test_a_fault_of_one_account_is_none_of_anothers(simulator: Simulator) -> None:
    headers, other = await simulator.login(), await simulator.login("bolt")
    await simulator.fault("acme", on="resource", status=503)
    await simulator.fault("acme", on="login", status=429)
    await simulator.fault("bolt", on="resource", status=502, times=1)
    assert [await simulator.status(one) for one in (headers, other, other)] == [503, 502, 200]
    assert (await simulator.try_login()).status_code == 429
    assert (await simulator.try_login("bolt")).status_code == 200
    assert (await simulator.try_login("nobody")).status_code == 403
    assert await simulator.status({"cookie": "PHPSESSID=unknown"}) == 401
