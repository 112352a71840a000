"""One shared session per account: over real sockets, several workers, on both databases where they decide."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from runtime import metrics
from runtime.settings import LoginSettings, ServiceTradeSettings, StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import ApiError, ApiUnreachable, LoginRefused, LoginUnavailable
from servicetrade.account import Account
from servicetrade.auth import CookieCalls
from servicetrade.client import open_client
from servicetrade.stored_session import Session
from tests.servicetrade.conftest import ACCOUNT, OpenAccount, OpenStore
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
    login = LoginSettings(interval_s=0.02, longest_pause_s=3600)
    pauses = []
    for _ in range(4):
        api.login_answers.append(Response(status_code=503))
        with pytest.raises(LoginUnavailable) as caught:
            await (await open_account(sqlite_settings, login=login)).get("job", 1)
        pauses.append(caught.value.retry_after_s)
    assert all(0.02 * 2**i <= (pause or 0) <= 0.02 * 2**i * 1.5 for i, pause in enumerate(pauses))


async def test_a_login_that_never_answers_gives_up_and_frees_the_lease(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    login = LoginSettings(answer_timeout_s=0.2, lease_s=2, interval_s=0.02, longest_pause_s=0.1)
    worker = await open_account(sqlite_settings, login=login)
    with pytest.raises(LoginUnavailable, match="no answer"):
        await worker.get("job", 1)
    assert (await (await open_store(sqlite_settings)).read("acme")).lease_owner is None
    api.login_may_finish.set()


async def test_a_caller_that_is_cancelled_ends_no_login_for_the_others(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    worker = await open_account(sqlite_settings)
    first, second = (asyncio.create_task(worker.get("job", i)) for i in (1, 2))
    await until(lambda: api.logins == 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    api.login_may_finish.set()
    assert await second == {"id": 2}
    assert (api.logins, len(api.sessions)) == (1, 1)


async def test_callers_with_less_patience_than_a_login_takes_do_not_make_it_start_again(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    worker = await open_account(sqlite_settings)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await worker.get("job", 1)
    api.login_may_finish.set()
    assert await worker.get("job", 1) == {"id": 1}
    assert (api.logins, len(api.sessions)) == (1, 1)


async def test_a_client_that_is_closed_brings_its_login_to_an_end_and_leaves_the_session_to_others(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    where, store = ServiceTradeSettings(base_url=api.url), await open_store(sqlite_settings)
    async with open_client(where, {"acme": ACCOUNT}, store) as client:
        call = asyncio.create_task(client.account("acme").get("job", 1))
        await until(lambda: api.logins == 1)
        call.cancel()
        api.login_may_finish.set()
    assert (await store.read("acme")).live
    await (await open_account(sqlite_settings)).get("job", 1)
    assert (api.logins, len(api.sessions)) == (1, 1)


async def test_a_client_that_is_closed_waits_for_no_other_workers_login(
    api: FakeServiceTrade, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    store = await open_store(sqlite_settings)
    assert await store.try_lease("acme", "another", 0, 100) is not None
    where = ServiceTradeSettings(base_url=api.url)
    async with open_client(where, {"acme": ACCOUNT}, store) as client:
        call = asyncio.create_task(client.account("acme").get("job", 1))
        await asyncio.sleep(0)
    with pytest.raises(LoginUnavailable, match="stopping"):
        await call


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
    worker = await open_account(sqlite_settings, login=LoginSettings(wait_s=0.2, lease_s=11))
    outcomes = await asyncio.gather(*(worker.get("job", i + 1) for i in range(10)), return_exceptions=True)
    assert all(isinstance(outcome, LoginUnavailable) for outcome in outcomes)
    assert api.logins == 0


async def test_who_waits_too_long_for_a_login_of_its_own_process_gives_up_and_the_login_goes_on(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_may_finish.clear()
    worker = await open_account(sqlite_settings, login=LoginSettings(wait_s=0.2))
    for job in (1, 2):
        with pytest.raises(LoginUnavailable, match=r"no session within 0\.2 s"):
            await worker.get("job", job)
    api.login_may_finish.set()
    await until(lambda: len(api.sessions) == 1)
    assert await worker.get("job", 3) == {"id": 3}
    assert api.logins == 1


async def test_a_log_out_without_an_answer_is_an_error() -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1/api") as http:
        calls = CookieCalls("acme", ACCOUNT, http, LoginSettings())
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
    assert await store.save("acme", "successor", 0, Secret(shared), fingerprint="f", login_interval_s=0) == 1
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
    login = LoginSettings(interval_s=10, wait_s=2)
    worker = await open_account(sqlite_settings, login=login)
    await worker.get("job", 1)
    api.kill_sessions()
    with pytest.raises(LoginUnavailable, match="paused") as caught:
        await worker.get("job", 1)
    assert caught.value.retry_after_s is not None
    assert api.logins == 1


async def test_every_exchange_and_every_login_is_counted(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    before = counted()
    await worker.get("job", 1)
    api.kill_sessions()
    await worker.get("location", 2)
    assert counted() - before == {
        ("auth", "200"): 2,
        ("auth", "404"): 1,
        ("job", "200"): 1,
        ("location", "401"): 1,
        ("location", "200"): 1,
        ("made",): 2,
    }


def counted() -> Counter[tuple[str, ...]]:
    samples = [
        sample for metric in (metrics.API_REQUESTS, metrics.LOGINS) for sample in next(iter(metric.collect())).samples
    ]
    return Counter(
        {
            tuple(sample.labels[name] for name in ("kind", "status", "outcome") if name in sample.labels): int(
                sample.value
            )
            for sample in samples
            if sample.name.endswith("_total") and sample.labels["account"] == "acme"
        }
    )


def test_a_session_does_not_print_its_token() -> None:
    assert "k3v0" not in repr(Session(generation=1, token=Secret("k3v0")))


def test_login_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="lease_s"):
        LoginSettings(lease_s=10, answer_timeout_s=5)
    with pytest.raises(ValueError, match="interval_s"):
        LoginSettings(interval_s=-1)
    with pytest.raises(ValueError, match="throttled_statuses"):
        LoginSettings(throttled_statuses=(200,))


async def test_a_session_that_other_credentials_made_is_replaced_by_a_worker_that_begins_and_ended(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    before = await open_account(store_settings)
    await before.get("job", 1)
    (old,) = api.sessions
    api.password = "new"
    after = [await open_account(store_settings, password="new") for _ in range(2)]
    await call_all(after, 4)
    assert api.logins == 2
    assert len(api.sessions - {old}) == len(api.sessions) == 1
    # Who still has the old credentials goes on with the new session instead of making one of its own.
    await call_all([before, *after], 6)
    assert api.logins == 2


async def test_wrong_new_credentials_leave_the_session_of_the_old_ones_alone(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    before = await open_account(sqlite_settings)
    await before.get("job", 1)
    for _ in range(2):
        with pytest.raises(LoginRefused):
            await (await open_account(sqlite_settings, password="mistyped")).get("job", 1)
    await before.get("job", 2)
    await (await open_account(sqlite_settings)).get("job", 3)
    assert (api.logins, len(api.sessions)) == (2, 1)


async def test_an_auth_answer_that_says_neither_yes_nor_no_keeps_the_session(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    api.always_401.add("/api/job/13")
    for answer in (Response("<html>"), JSONResponse({"data": {}}), Response(status_code=500)):
        api.auth_answers.append(answer)
        with pytest.raises(LoginUnavailable):
            await worker.get("job", 13)
    await worker.get("job", 2)
    assert api.logins == 1


async def test_a_403_that_is_configured_as_throttling_pauses_and_stops_nothing(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_answers.append(JSONResponse(BUSY, status_code=403))
    login = LoginSettings(interval_s=0.02, throttled_statuses=(403, 429))
    worker = await open_account(sqlite_settings, login=login)
    with pytest.raises(LoginUnavailable, match="throttled: HTTP 403; Too many logins"):
        await worker.get("job", 1)
    await worker.get("job", 1)
    assert api.logins == 2


async def test_two_wrong_passwords_are_each_tried_once(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    workers = [await open_account(store_settings, password=wrong) for wrong in ("one", "two", "one", "two")]
    for _ in range(3):
        outcomes = await asyncio.gather(*(worker.get("job", 1) for worker in workers), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LoginRefused] * 4
    assert api.logins == 2


async def test_who_comes_back_after_two_sessions_have_died_meanwhile_fails_no_call(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    busy, idle = await open_account(store_settings), await open_account(store_settings)
    await call_all([busy, idle], 2)
    api.kill_sessions()
    await busy.get("job", 1)
    api.kill_sessions()
    await idle.get("job", 2)
    assert (api.logins, len(api.sessions)) == (3, 1)


async def test_while_auth_fails_only_the_doubted_request_does_and_auth_is_left_alone(
    api: FakeServiceTrade, open_account: OpenAccount, store_settings: StoreSettings
) -> None:
    workers = [await open_account(store_settings) for _ in range(2)]
    await call_all(workers, 2)
    api.always_401.add("/api/job/13")
    api.auth_answers.append(Response(status_code=429, headers={"Retry-After": "600"}))
    for worker in workers * 3:
        with pytest.raises(LoginUnavailable) as caught:
            await worker.get("job", 13)
        assert 500 < (caught.value.retry_after_s or 0) <= 600
        await call_all([*workers, await open_account(store_settings)], 3)
    assert (api.logins, api.asked["GET /api/auth"]) == (1, 1)


async def test_calls_go_on_while_others_are_in_doubt_and_these_take_no_place_of_theirs(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    api.always_401.add("/api/job/13")
    store = await open_store(sqlite_settings)
    assert await store.try_lease("acme", "another", 1, 60) is not None
    as_many_as_at_a_time = ServiceTradeSettings().concurrency
    doubted = [asyncio.create_task(worker.get("job", 13)) for _ in range(as_many_as_at_a_time)]
    await until(lambda: api.asked["GET /api/job/13"] == as_many_as_at_a_time)
    assert await worker.get("job", 2) == {"id": 2}
    await store.release("acme", "another")
    outcomes = await asyncio.gather(*doubted, return_exceptions=True)
    assert [getattr(outcome, "status", None) for outcome in outcomes] == [401] * as_many_as_at_a_time
    assert api.logins == 1
