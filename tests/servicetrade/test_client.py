"""Entities over real sockets: shapes, pages, errors, pauses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest
from starlette.responses import JSONResponse, Response

from runtime.settings import ServiceTradeSettings, StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import ApiError, ApiUnreachable, LoginRefused, LoginUnavailable, NotFound, PermissionDenied
from servicetrade.account import Account, Page
from servicetrade.client import open_client, short_session
from servicetrade.governor import Governor
from tests.servicetrade.conftest import ACCOUNT, OpenAccount, OpenStore
from tests.servicetrade.fake import FakeServiceTrade
from tests.servicetrade.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def account(open_account: OpenAccount, sqlite_settings: StoreSettings) -> Account:
    return await open_account(sqlite_settings)


async def test_an_entity_is_read_at_the_path_of_its_type_in_either_shape(
    api: FakeServiceTrade, account: Account
) -> None:
    flat = {"id": 2687264638045377, "name": "flat", "location": {"id": 9}}
    api.answers.append(JSONResponse({"data": flat}))
    assert await account.get("job", 2687264638045377) == flat
    compound = {"locations": [{"id": 9}], "jobItem": {"id": 7, "job": 3}}
    api.answers.append(JSONResponse({"data": compound}))
    assert await account.get("jobitem", "7") == {"id": 7, "job": 3}
    assert [path for _, path, _ in api.bodies] == ["/api/job/2687264638045377", "/api/jobitem/7"]


@pytest.mark.parametrize("body", ["<html>", "[]", '{"data": null}', '{"data": {"x": 1}}', ""])
async def test_an_answer_without_the_entity_is_an_error(api: FakeServiceTrade, account: Account, body: str) -> None:
    api.answers.append(Response(body))
    with pytest.raises(ApiError) as caught:
        await account.get("job", 1)
    assert caught.value.status == 200


@pytest.mark.parametrize(
    ("entity_type", "entity_id"), [("clockevent", 1), ("nonsense", 1), ("job", "1/../2"), ("job", 0)]
)
async def test_what_has_no_known_url_is_never_asked_for(
    api: FakeServiceTrade, account: Account, entity_type: str, entity_id: int | str
) -> None:
    with pytest.raises(ValueError, match=r"no path|not an entity id"):
        await account.get(entity_type, entity_id)
    assert not api.asked


async def test_a_list_is_read_page_by_page_with_its_filters(api: FakeServiceTrade, account: Account) -> None:
    for page in (1, 2, 3):
        api.answers.append(JSONResponse({"data": {"totalPages": 3, "page": page, "jobs": [{"id": page}]}}))
    got = [job async for job in account.list("job", {"officeIds": [1, 2], "isLive": True, "limit": 7})]
    assert got == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert api.queries[2] == {"officeIds": "1,2", "isLive": "1", "limit": "7", "status": "*", "page": "3"}


@pytest.mark.parametrize(
    ("entity_type", "query"),
    [("job", {"status": "*", "limit": "2000"}), ("location", {"limit": "5000"}), ("contact", {})],
)
async def test_a_list_is_complete_and_its_pages_as_large_as_the_type_allows(
    api: FakeServiceTrade, account: Account, entity_type: str, query: dict[str, str]
) -> None:
    api.answers.append(JSONResponse({"data": {"items": []}}))
    assert [item async for item in account.list(entity_type)] == []
    assert api.queries == [{"page": "1", **query}]


async def test_an_incremental_read_overlaps_by_five_minutes_and_leaves_out_what_a_resource_without_it_adds(
    api: FakeServiceTrade, account: Account
) -> None:
    contacts: list[dict[str, int | str]] = [{"id": 1, "updated": 699}, {"id": 2, "updated": 700}, {"id": 3}]
    api.answers.append(JSONResponse({"data": {"contacts": contacts}}))
    assert [item["id"] async for item in account.list("contact", updated_since=1000)] == [2, 3]
    assert api.queries == [{"page": "1", "updatedAfter": "700"}]


async def test_a_list_without_valid_page_count_is_one_page_under_either_spelling(
    api: FakeServiceTrade, account: Account
) -> None:
    api.answers.append(JSONResponse({"data": {"totalPages": "many", "servicerequests": [{"id": 1}], "x": []}}))
    assert [item async for item in account.list("servicerequest")] == [{"id": 1}]
    api.answers.append(JSONResponse({"data": {"somethingElse": [{"id": 2}]}}))
    assert [item async for item in account.list("job")] == [{"id": 2}]
    api.answers.append(JSONResponse({"data": {}}))
    with pytest.raises(ApiError):
        [item async for item in account.list("job")]


async def test_a_list_can_be_gone_on_with_from_a_page_and_says_how_many_there_are(
    api: FakeServiceTrade, account: Account
) -> None:
    jobs: list[dict[str, int]] = [{"id": 1, "updated": 699}, {"id": 2, "updated": 700}]
    for total in (4, 3):  # it shrinks meanwhile
        api.answers.append(JSONResponse({"data": {"totalPages": total, "jobs": jobs}}))
    found = [page async for page in account.pages("job", {"limit": 2}, updated_since=1000, first=2)]
    assert found == [Page(2, 4, jobs[1:]), Page(3, 3, jobs[1:])]
    assert [query["page"] for query in api.queries] == ["2", "3"]
    assert {query["updatedAfter"] for query in api.queries} == {"700"}
    api.answers.append(JSONResponse({"data": {"totalPages": 3, "jobs": []}}))
    assert [page async for page in account.pages("job", first=9)] == [Page(9, 3, [])]


async def test_a_page_that_holds_something_else_than_entities_is_an_error(
    api: FakeServiceTrade, account: Account
) -> None:
    api.answers.append(JSONResponse({"data": {"jobs": [{"id": 1}, "2"]}}))
    with pytest.raises(ApiError, match="something else"):
        [page async for page in account.pages("job")]


async def test_entities_are_created_updated_and_deleted_also_when_answers_are_empty(
    api: FakeServiceTrade, account: Account
) -> None:
    api.answers.extend([JSONResponse({"data": {"id": 5}}), Response(), Response(status_code=204)])
    assert await account.create("webhook", {"hookUrl": "https://x.example"}) == {"id": 5}
    assert await account.update("webhook", 5, {"enabled": True}) == {}
    await account.delete("webhook", 5)
    assert api.bodies == [
        ("POST", "/api/webhook", b'{"hookUrl":"https://x.example"}'),
        ("PUT", "/api/webhook/5", b'{"enabled":true}'),
        ("DELETE", "/api/webhook/5", b""),
    ]


async def test_an_error_carries_status_and_messages_of_every_shape(api: FakeServiceTrade, account: Account) -> None:
    messages = {"error": ["one", "two"], "validation": {"locationId": "Location is required"}}
    api.answers.append(JSONResponse({"messages": messages, "data": None}, status_code=400))
    with pytest.raises(ApiError) as caught:
        await account.get("job", 1)
    assert caught.value.status == 400
    assert caught.value.messages == ("one", "two", "locationId: Location is required")
    api.answers.append(JSONResponse({"messages": {"error": ["Not found"]}, "data": None}, status_code=404))
    with pytest.raises(NotFound, match="Not found"):
        await account.get("job", 1)
    api.answers.append(JSONResponse({"messages": {"error": ["No access"]}}, status_code=403))
    with pytest.raises(PermissionDenied, match="No access"):
        await account.get("webhook", 1)
    assert api.logins == 1


async def test_a_redirect_is_not_followed(api: FakeServiceTrade, account: Account) -> None:
    api.answers.append(Response(status_code=302, headers={"Location": "https://elsewhere.example/"}))
    with pytest.raises(ApiError) as caught:
        await account.get("job", 1)
    assert caught.value.status == 302


async def test_no_answer_is_unreachable_and_keeps_the_session(
    api: FakeServiceTrade, open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    await (await open_account(sqlite_settings)).get("job", 1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = ServiceTradeSettings(base_url=f"http://127.0.0.1:{closed.getsockname()[1]}")
        store = await open_store(sqlite_settings)
        async with open_client(where, {"acme": ACCOUNT}, store) as gone:
            with pytest.raises(ApiUnreachable, match="GET /job/1"):
                await gone.account("acme").get("job", 1)
    assert (await store.read("acme")).live
    assert api.logins == 1


async def test_a_login_without_an_answer_is_unavailable(open_store: OpenStore, sqlite_settings: StoreSettings) -> None:
    where = ServiceTradeSettings(base_url="http://127.0.0.1:1")
    async with open_client(where, {"acme": ACCOUNT}, await open_store(sqlite_settings)) as client:
        with pytest.raises(LoginUnavailable, match="no answer"):
            await client.account("acme").get("job", 1)


async def test_an_account_has_one_handle_and_an_unknown_one_has_none(
    open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    async with open_client(ServiceTradeSettings(), {"acme": ACCOUNT}, await open_store(sqlite_settings)) as client:
        assert client.account("acme") is client.account("acme")
        with pytest.raises(KeyError):
            client.account("nobody")


async def test_a_long_retry_after_makes_further_requests_fail_without_being_sent(
    api: FakeServiceTrade, account: Account
) -> None:
    api.answers.append(Response(status_code=429, headers={"Retry-After": "600"}))
    for _ in range(2):
        with pytest.raises(ApiError) as caught:
            await account.get("job", 1)
        assert caught.value.status == 429
        assert 500 < (caught.value.retry_after_s or 0) <= 600
    assert api.asked["GET /api/job/1"] == 1


async def test_a_request_after_a_server_error_waits_for_the_pause_and_succeeds(
    api: FakeServiceTrade, account: Account
) -> None:
    api.answers.append(Response(status_code=503, headers={"Retry-After": "0.05"}))
    with pytest.raises(ApiError, match="503"):
        await account.get("job", 1)
    assert (await account.get("job", 2))["id"] == 2


async def test_no_more_requests_at_a_time_than_allowed() -> None:
    governor, running, most = Governor(3), 0, 0
    go_on = asyncio.Event()

    async def request() -> None:
        nonlocal running, most
        async with governor.turn():
            running += 1
            most = max(most, running)
            await go_on.wait()
            running -= 1

    tasks = [asyncio.create_task(request()) for _ in range(9)]
    await until(lambda: running == 3)
    go_on.set()
    await asyncio.gather(*tasks)
    assert most == 3


async def test_pauses_without_retry_after_grow_once_per_pause_and_start_anew_after_a_success() -> None:
    governor = Governor(1, longest_wait_s=0)

    async def left() -> float:
        with pytest.raises(ApiError) as caught:
            async with governor.turn():
                pass
        return caught.value.retry_after_s or 0

    governor.pause(None)
    governor.pause(None)
    assert 0 < await left() <= 0.625
    governor._resume_at = 0
    governor.pause(None)
    assert 0.625 < await left() <= 1.25
    governor._resume_at = 0
    governor.succeeded()
    governor.pause(None)
    assert 0 < await left() <= 0.625


async def test_an_answer_that_drips_for_ever_is_no_answer_and_keeps_the_session(
    open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    await (await open_account(sqlite_settings)).get("job", 1)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    where = ServiceTradeSettings(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.3)
    store = await open_store(sqlite_settings)
    async with server, open_client(where, {"acme": ACCOUNT}, store) as client:
        with pytest.raises(ApiUnreachable, match="TimeoutError"):
            await client.account("acme").get("job", 1)
    assert (await store.read("acme")).live


async def test_waiting_for_another_workers_login_is_not_the_requests_time(
    open_account: OpenAccount, open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    store = await open_store(sqlite_settings)
    assert await store.try_lease("acme", "another", 0, 1) is not None
    account = await open_account(sqlite_settings, timeout_s=0.5)
    assert await account.get("job", 1) == {"id": 1}


async def test_a_script_logs_in_acts_and_logs_out_and_leaves_the_shared_session_alone(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    await (await open_account(sqlite_settings)).get("job", 1)
    shared = set(api.sessions)
    where = ServiceTradeSettings(base_url=api.url)
    async with short_session(where, "acme", ACCOUNT) as account:
        assert await account.get("job", 2) == {"id": 2}
        assert len(api.sessions) == 2
    assert api.sessions == shared
    with pytest.raises(RuntimeError, match="on purpose"):
        async with short_session(where, "acme", ACCOUNT):
            raise RuntimeError("on purpose")
    assert api.sessions == shared


async def test_in_a_script_a_401_surfaces_and_a_session_that_is_gone_needs_no_log_out(api: FakeServiceTrade) -> None:
    async with short_session(ServiceTradeSettings(base_url=api.url), "acme", ACCOUNT) as account:
        api.kill_sessions()
        with pytest.raises(ApiError, match="401"):
            await account.get("job", 1)
    assert api.asked["POST /api/auth"] == 1


async def test_a_scripts_login_that_is_refused_is_said(api: FakeServiceTrade) -> None:
    wrong = replace(ACCOUNT, password=Secret("wrong"))
    with pytest.raises(LoginRefused, match="Invalid credentials"):
        async with short_session(ServiceTradeSettings(base_url=api.url), "acme", wrong):
            pass
