"""One shared session per account: over real sockets, several workers, on both databases where they decide."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import ApiError, ApiUnreachable, LoginRefused, LoginUnavailable
from servicetrade.auth import CookieCalls
from servicetrade.client import Account
from servicetrade.session import Session, SessionTimes
from tests.servicetrade.conftest import QUICK, OpenAccount, OpenStore
from tests.servicetrade.fake import FakeServiceTrade
from tests.servicetrade.waiting import until

pytestmark = pytest.mark.anyio

BUSY = {"messages": {"error": ["Too many logins"]}}


async def call_all(workers: list[Account], calls: int) -> None:
    got = await asyncio.gather(*(workers[i % len(workers)].get("job", i + 1) for i in range(calls)))
    assert [entity["id"] for entity in got] == list(range(1, calls + 1))


async def test_a_hundred_calls_of_four_workers_log_in_once_and_once_more_when_the_session_is_killed(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    workers = [await open_account(store_settings) for _ in range(4)]
    await call_all(workers, 100)
    assert api.logins == 1
    (first,) = set(api.cookies)
    api.kill_sessions()
    api.cookies.clear()
    await call_all(workers, 100)
    assert api.logins == 2
    (second,) = set(api.cookies) - {first}
    assert api.cookies[-1] == second
    assert api.asked["DELETE /api/auth"] == 0
    assert len(api.sessions) == 1


async def test_cookies_that_an_answer_sets_are_never_sent_back(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    api.kill_sessions()
    await worker.get("job", 1)
    assert api.login_cookies == ["", ""]
    assert not any("poison" in cookie or "balancer" in cookie for cookie in api.cookies)


async def test_a_worker_that_starts_later_uses_the_stored_session(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    await (await open_account(store_settings)).get("job", 1)
    await (await open_account(store_settings)).get("job", 2)
    assert (api.logins, api.asked["GET /api/auth"]) == (1, 0)


async def test_a_resource_that_always_answers_401_makes_nobody_log_in(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    workers = [await open_account(store_settings) for _ in range(2)]
    await call_all(workers, 2)
    api.always_401.add("/api/job/13")
    outcomes = await asyncio.gather(*(workers[i % 2].get("job", 13) for i in range(20)), return_exceptions=True)
    assert [getattr(outcome, "status", None) for outcome in outcomes] == [401] * 20
    assert api.logins == 1
    await call_all(workers, 2)
    assert (api.logins, len(set(api.cookies))) == (1, 1)


async def test_a_second_401_with_a_new_session_surfaces(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    api.kill_sessions()
    api.always_401.add("/api/job/13")
    with pytest.raises(ApiError) as caught:
        await worker.get("job", 13)
    assert caught.value.status == 401
    assert api.logins == 2
    assert api.asked["GET /api/job/13"] == 2


async def test_a_write_is_sent_again_with_its_body_after_a_401(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    api.kill_sessions()
    api.bodies.clear()
    await worker.update("job", 7, {"status": "completed"})
    assert api.bodies == [("PUT", "/api/job/7", b'{"status":"completed"}')] * 2


async def test_server_errors_of_a_resource_do_not_touch_the_session(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    for status in (500, 404, 403, 400):
        api.answers.append(Response(status_code=status))
        with pytest.raises(ApiError):
            await worker.get("job", 2)
    await worker.get("job", 3)
    assert (api.logins, api.asked["GET /api/auth"]) == (1, 0)


async def test_when_auth_cannot_tell_the_session_is_kept(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    api.always_401.add("/api/job/13")
    api.auth_answers.append(Response(status_code=503, headers={"Retry-After": "7"}))
    with pytest.raises(LoginUnavailable) as caught:
        await worker.get("job", 13)
    assert caught.value.retry_after_s == 7
    await worker.get("job", 2)
    assert api.logins == 1


async def test_a_refused_login_is_not_repeated_until_the_credentials_change(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    for worker in (
        await open_account(store_settings, password="old"),
        await open_account(store_settings, password="old"),
    ):
        for _ in range(3):
            with pytest.raises(LoginRefused, match="Invalid credentials provided"):
                await worker.get("job", 1)
    assert api.logins == 1
    await (await open_account(store_settings)).get("job", 1)
    assert api.logins == 2


async def test_a_refused_login_is_tried_again_after_an_unlock(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings, password="soon right")
    with pytest.raises(LoginRefused):
        await worker.get("job", 1)
    api.password = "soon right"
    with pytest.raises(LoginRefused):
        await worker.get("job", 1)
    await (await open_store(sqlite_settings)).unlock("acme")
    await worker.get("job", 1)
    assert api.logins == 2


async def test_a_throttled_login_pauses_all_workers_also_new_ones_for_as_long_as_asked(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_answers.append(JSONResponse(BUSY, status_code=429, headers={"Retry-After": "600"}))
    for worker in (await open_account(sqlite_settings), await open_account(sqlite_settings)):
        outcomes = await asyncio.gather(*(worker.get("job", i + 1) for i in range(10)), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, LoginUnavailable)
            assert outcome.retry_after_s is not None
            assert 500 < outcome.retry_after_s <= 600
    assert api.logins == 1


@pytest.mark.parametrize("answer", [(500, ""), (302, ""), (400, ""), (404, ""), (200, ""), (200, "<html>")])
async def test_a_login_without_a_session_in_its_answer_is_tried_again_after_a_pause(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings, answer: tuple[int, str]
) -> None:
    api.login_answers.append(Response(answer[1], status_code=answer[0]))
    worker = await open_account(sqlite_settings)
    with pytest.raises(LoginUnavailable):
        await worker.get("job", 1)
    await worker.get("job", 1)
    assert api.logins == 2


async def test_pauses_grow_with_every_failed_login(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    times = SessionTimes(login_interval_s=0.02, longest_pause_s=10_000)
    pauses = []
    for _ in range(4):
        api.login_answers.append(Response(status_code=503))
        with pytest.raises(LoginUnavailable) as caught:
            await (await open_account(sqlite_settings, times=times)).get("job", 1)
        pauses.append(caught.value.retry_after_s)
    assert all(0.02 * 2**i <= (pause or 0) <= 0.02 * 2**i * 1.5 for i, pause in enumerate(pauses))


async def test_a_login_that_never_answers_gives_up_and_frees_the_lease(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    times = SessionTimes(answer_s=0.2, lease_s=2, login_interval_s=0.02, longest_pause_s=0.1)
    worker = await open_account(sqlite_settings, times=times)
    with pytest.raises(LoginUnavailable, match="no answer"):
        await worker.get("job", 1)
    assert (await (await open_store(sqlite_settings)).read("acme")).lease_owner is None
    api.login_may_finish.set()


async def test_a_cancelled_login_frees_the_lease_and_the_next_call_logs_in(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    worker = await open_account(sqlite_settings)
    call = asyncio.create_task(worker.get("job", 1))
    await until(lambda: api.logins == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await (await open_store(sqlite_settings)).read("acme")).lease_owner is None
    api.login_may_finish.set()
    await worker.get("job", 1)


async def test_a_lease_holder_that_died_blocks_others_only_until_its_lease_ends(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, store_settings: StoreSettings
) -> None:
    assert await (await open_store(store_settings)).try_lease("acme", "dead", 0, 0.3) is not None
    await call_all([await open_account(store_settings)], 5)
    assert api.logins == 1


async def test_who_waits_too_long_for_another_workers_login_gives_up(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    assert await (await open_store(sqlite_settings)).try_lease("acme", "slow", 0, 11) is not None
    worker = await open_account(sqlite_settings, times=SessionTimes(wait_s=0.2, lease_s=11, poll_s=0.02))
    outcomes = await asyncio.gather(*(worker.get("job", i + 1) for i in range(10)), return_exceptions=True)
    assert all(isinstance(outcome, LoginUnavailable) for outcome in outcomes)
    assert api.logins == 0


async def test_who_waits_too_long_for_a_login_of_its_own_process_gives_up_and_the_login_goes_on(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    worker = await open_account(sqlite_settings, times=SessionTimes(wait_s=0.2))
    first = asyncio.create_task(worker.get("job", 1))
    await until(lambda: api.logins == 1)
    with pytest.raises(LoginUnavailable, match="still trying"):
        await worker.get("job", 2)
    api.login_may_finish.set()
    await first
    assert api.logins == 1


async def test_a_log_out_without_an_answer_is_an_error() -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1/api") as http:
        calls = CookieCalls(
            "acme", http, username="api", password=Secret("right"), answer_s=5, observe=lambda *_exchange: None
        )
        with pytest.raises(ApiUnreachable):
            await calls.logout(Secret("token"))


@pytest.mark.parametrize("logout_status", [204, 404, 500])
async def test_a_login_that_lost_its_lease_is_ended_and_the_stored_session_used(
    api: FakeServiceTrade,
    open_account: OpenAccount,
    open_store: OpenStore,
    store_settings: StoreSettings,
    logout_status: int,
) -> None:
    api.logout_status = logout_status
    store = await open_store(store_settings)
    api.login_may_finish.clear()
    call = asyncio.create_task((await open_account(store_settings)).get("job", 1))
    await until(lambda: api.logins == 1)
    frozen = (await store.read("acme")).lease_owner
    assert frozen is not None
    await store.release("acme", frozen)
    assert await store.try_lease("acme", "successor", 0, 10) is not None
    shared = api.new_session()
    assert await store.save("acme", "successor", 0, Secret(shared), login_interval_s=0) == 1
    api.login_may_finish.set()
    await call
    assert api.sessions == {shared}
    assert api.cookies == [f"PHPSESSID={shared}"]
    assert api.asked["DELETE /api/auth"] == 1


async def test_the_token_is_trimmed_and_taken_from_the_right_one_of_several_cookies(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    api.token_in_body = False
    await (await open_account(sqlite_settings)).get("job", 1)
    token = (await (await open_store(sqlite_settings)).read("acme")).token
    assert token is not None
    assert {token.reveal()} == api.sessions
    assert api.cookies == [f"PHPSESSID={token.reveal()}"]


async def test_an_interval_lies_between_two_logins(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    times = SessionTimes(login_interval_s=10, wait_s=2)
    worker = await open_account(sqlite_settings, times=times)
    await worker.get("job", 1)
    api.kill_sessions()
    with pytest.raises(LoginUnavailable, match="paused") as caught:
        await worker.get("job", 1)
    assert caught.value.retry_after_s is not None
    assert api.logins == 1


async def test_every_exchange_is_observed(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    seen: list[tuple[str, str, str, int | None]] = []
    worker = await open_account(sqlite_settings, observe=lambda *exchange: seen.append(exchange))
    await worker.get("job", 1)
    api.kill_sessions()
    await worker.get("location", 2)
    assert seen == [
        ("acme", "POST", "auth", 200),
        ("acme", "GET", "job", 200),
        ("acme", "GET", "location", 401),
        ("acme", "GET", "auth", 404),
        ("acme", "POST", "auth", 200),
        ("acme", "GET", "location", 200),
    ]


def test_a_session_does_not_print_its_token() -> None:
    assert "k3v0" not in repr(Session(generation=1, token=Secret("k3v0")))


def test_a_lease_shorter_than_a_login_is_refused() -> None:
    with pytest.raises(ValueError, match="lease_s"):
        SessionTimes(lease_s=10, answer_s=5)
    assert QUICK.lease_s > 2 * QUICK.answer_s
