"""Logging in and what a session is worth, over real sockets."""

from __future__ import annotations

import pytest

from tests.simulator.support import Simulator

pytestmark = pytest.mark.anyio
GOOD = {"username": "acme-api", "password": "secret-a"}


async def test_a_right_login_answers_200_with_the_token_in_one_of_several_cookies(simulator: Simulator) -> None:
    answer = await simulator.http.post("/api/auth", json=GOOD)
    data = answer.json()["data"]
    cookies = answer.headers.get_list("set-cookie")
    assert answer.status_code == 200
    assert data["authenticated"] is True
    assert data["user"]["id"] == 1234
    assert data["user"]["company"]["name"] == "acme"
    assert len(cookies) >= 2
    assert not cookies[0].startswith("PHPSESSID=")
    assert [cookie.split(";")[0] for cookie in cookies if cookie.startswith("PHPSESSID=")] == [
        f"PHPSESSID={data['authToken']}"
    ]


BAD: list[tuple[object, int]] = [
    ({**GOOD, "password": "wrong"}, 403),
    ({**GOOD, "username": "nobody"}, 403),
    ({**GOOD, "password": "secret-b"}, 403),
    ({"username": "acme-api"}, 400),
    ({"password": "secret-a"}, 400),
    ([], 400),
]


async def test_a_bad_login_is_403_and_an_incomplete_one_400(simulator: Simulator) -> None:
    for body, status in BAD:
        answer = await simulator.http.post("/api/auth", json=body)
        assert (answer.status_code, body) == (status, body)
        assert answer.json()["messages"]["error"]
    assert (await simulator.http.post("/api/auth", content=b"{")).status_code == 400


async def test_get_auth_answers_200_for_a_live_session_and_404_for_a_dead_one(simulator: Simulator) -> None:
    headers = await simulator.login()
    alive = await simulator.http.get("/api/auth", headers=headers)
    assert alive.status_code == 200
    assert headers["cookie"].endswith(alive.json()["data"]["authToken"])
    assert (await simulator.http.delete("/api/auth", headers=headers)).status_code == 204
    dead = await simulator.http.get("/api/auth", headers=headers)
    assert dead.status_code == 404
    assert dead.json()["messages"]["error"] == ["No active session found for given auth token"]
    assert dead.json()["data"]["authenticated"] is False
    assert (await simulator.http.delete("/api/auth", headers=headers)).status_code == 404


async def test_a_resource_without_a_session_is_401_with_an_empty_body(simulator: Simulator) -> None:
    for path in ("job", "job/1", "webhook", "nothing", "job/abc"):
        for headers in ({}, {"cookie": "PHPSESSID=unknown"}):
            answer = await simulator.http.get(f"/api/{path}", headers=headers)
            assert (answer.status_code, answer.content, path) == (401, b"", path)


async def test_a_killed_session_is_401_and_the_accounts_other_one_lives_on(simulator: Simulator) -> None:
    one, two, other = await simulator.login(), await simulator.login(), await simulator.login("bolt")
    token = one["cookie"].removeprefix("PHPSESSID=")
    assert await simulator.control("sessions/kill", {"token": token}) == {"killed": 1}
    dead = await simulator.http.get("/api/job", headers=one)
    assert (dead.status_code, dead.content) == (401, b"")
    assert (await simulator.http.get("/api/job", headers=two)).status_code == 200
    assert await simulator.control("sessions/kill", {"account": "acme"}) == {"killed": 1}
    assert (await simulator.http.get("/api/job", headers=two)).status_code == 401
    assert (await simulator.http.get("/api/job", headers=other)).status_code == 200
    assert await simulator.control("sessions/kill", {}) == {"killed": 1}
    acme = (await simulator.control("accounts"))["accounts"][0]
    assert acme["unauthorized"] == 2
    assert acme["live_sessions"] == 0


async def test_the_201st_login_kills_the_oldest_sessions_of_that_account_only(simulator: Simulator) -> None:
    bolt = await simulator.login("bolt")
    sessions = [await simulator.login() for _ in range(201)]
    statuses = [
        (await simulator.http.get("/api/company", headers=sessions[number])).status_code
        for number in (0, 100, 101, 200)
    ]
    assert statuses == [401, 401, 200, 200]
    assert (await simulator.http.get("/api/company", headers=bolt)).status_code == 200
    acme = (await simulator.control("accounts"))["accounts"][0]
    assert (acme["logins"], acme["live_sessions"], acme["pruned_sessions"]) == (201, 100, 101)


async def test_the_whole_set_cookie_text_is_accepted_as_a_cookie(simulator: Simulator) -> None:
    headers = await simulator.login()
    verbose = {"cookie": headers["cookie"] + "; path=/; secure; HttpOnly"}
    assert (await simulator.http.get("/api/job", headers=verbose)).status_code == 200


async def test_counters_tell_requests_by_method_and_kind_of_path(simulator: Simulator) -> None:
    headers = await simulator.login()
    await simulator.http.post("/api/auth", json={**GOOD, "password": "wrong"})
    for _ in range(3):
        await simulator.http.get("/api/job/1", headers=headers)
    acme = (await simulator.control("accounts"))["accounts"][0]
    assert acme["requests"] == {"GET job/{id}": 3, "POST auth": 2}
    assert (acme["logins"], acme["logins_refused"]) == (1, 1)
    assert "secret" not in str(acme)
