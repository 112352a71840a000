"""The mirror sink against a small ServiceTrade over HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import JSONResponse, Response

from runtime.database import open_database
from runtime.settings import AccountSettings, ServiceTradeSettings, StoreSettings
from runtime.toml_reader import Secret
from schemas.encoding import decode
from schemas.errors import Reject, RetryLater
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks.mirror import NO_PATH, STALE, Mirror
from sinks.mirror_core import SUPERSEDED, snapshot_of
from sinks.mirror_store import MirrorStore
from sinks.outcome import ALREADY_DELIVERED, Delivered
from tests.servicetrade.conftest import RIGHT
from tests.servicetrade.fake import FakeServiceTrade
from tests.sinks.support import change

pytestmark = pytest.mark.anyio


def entity(**fields: object) -> Response:
    return JSONResponse({"data": {"id": 1, "name": "Repair", "updated": 10, **fields}})


class Bench:
    """A mirror, its table and the ServiceTrade that it reads."""

    def __init__(self, api: FakeServiceTrade, mirror: Mirror, store: MirrorStore) -> None:
        self.api = api
        self.mirror = mirror
        self.store = store

    @property
    def reads(self) -> int:
        return self.api.asked["GET /api/job/1"]


@pytest.fixture
async def bench(api: FakeServiceTrade, sqlite_settings: StoreSettings) -> AsyncIterator[Bench]:
    async with opened(sqlite_settings, api.url) as (mirror, store):
        yield Bench(api, mirror, store)


@asynccontextmanager
async def opened(
    settings: StoreSettings, url: str, *, password: str = RIGHT
) -> AsyncIterator[tuple[Mirror, MirrorStore]]:
    accounts = {
        "acme": AccountSettings(username="api", password=Secret(password), hook_secret=Secret("of-no-use-in-this-test"))
    }
    async with open_database(settings) as engine:
        sessions, store = SessionStore(engine, settings.key), MirrorStore(engine)
        await sessions.create_tables()
        await store.create_tables()
        async with open_client(ServiceTradeSettings(base_url=url), accounts, sessions) as client:
            yield Mirror(client, store), store


async def test_the_present_state_is_written(bench: Bench) -> None:
    bench.api.answers.append(entity(status="scheduled"))
    assert await bench.mirror.deliver([change(1)]) == [Delivered()]
    row = await bench.store.read("acme", "job", "1")
    assert row is not None
    assert (row.status, decode(row.data.encode())["name"]) == ("scheduled", "Repair")


async def test_changes_that_wait_together_cost_one_read(bench: Bench) -> None:
    outcomes = await bench.mirror.deliver([change(1), change(2), change(3)])
    assert outcomes == [SUPERSEDED, SUPERSEDED, Delivered()]
    assert bench.reads == 1
    assert await bench.mirror.deliver([change(1), change(2), change(3)]) == [ALREADY_DELIVERED] * 3
    assert bench.reads == 1


async def test_what_was_delivered_before_is_settled_before_anything_is_read(bench: Bench) -> None:
    await bench.mirror.deliver([change(1), change(2)])
    bench.api.answers.append(Response(status_code=403))
    assert await bench.mirror.deliver([change(1), change(2), change(3)]) == [ALREADY_DELIVERED] * 2
    with pytest.raises(Reject, match="403"):
        await bench.mirror.deliver([change(3)])


async def test_a_deletion_is_marked_without_a_read_and_takes_earlier_changes_along(bench: Bench) -> None:
    await bench.mirror.deliver([change(1)])
    outcomes = await bench.mirror.deliver([change(2), change(3, action="deleted")])
    assert outcomes == [SUPERSEDED, Delivered()]
    assert await bench.mirror.deliver([change(3, action="deleted")]) == [ALREADY_DELIVERED]
    assert bench.reads == 1
    row = await bench.store.read("acme", "job", "1")
    assert row is not None
    assert row.deleted_at == change(3).last_at
    assert row.data is not None


async def test_an_entity_that_is_not_found_is_marked_deleted(bench: Bench) -> None:
    bench.api.answers.append(JSONResponse({"messages": {"error": ["Not found"]}, "data": None}, status_code=404))
    assert await bench.mirror.deliver([change(1)]) == [Delivered()]
    row = await bench.store.read("acme", "job", "1")
    assert row is not None
    assert row.deleted_at is not None


async def test_a_read_that_is_older_than_the_row_is_skipped_as_stale(bench: Bench) -> None:
    reading = await bench.store.begin_read(change(1))
    assert reading is not None
    await bench.store.write(change(1), reading.ticket, snapshot_of({"updated": 50}))
    bench.api.answers.append(entity(updated=49))
    assert await bench.mirror.deliver([change(2)]) == [STALE]
    assert await bench.mirror.deliver([change(2)]) == [ALREADY_DELIVERED]


@pytest.mark.parametrize("action", ["updated", "deleted"])
async def test_a_type_that_cannot_be_read_is_skipped(bench: Bench, action: str) -> None:
    one = change(1, entity_type="quoteitem", action="deleted" if action == "deleted" else "updated")
    assert await bench.mirror.deliver([one, one]) == [NO_PATH, NO_PATH]
    assert bench.api.asked.total() == 0


@pytest.mark.parametrize("status", [400, 403, 409, 422])
async def test_an_answer_about_the_request_itself_is_a_rejection(bench: Bench, status: int) -> None:
    bench.api.answers.append(JSONResponse({"messages": {"error": ["No permission"]}}, status_code=status))
    with pytest.raises(Reject, match="No permission"):
        await bench.mirror.deliver([change(1)])
    assert await bench.mirror.deliver([change(1)]) == [Delivered()]


@pytest.mark.parametrize("status", [302, 408, 429, 500, 503])
async def test_an_answer_that_may_pass_is_tried_again(bench: Bench, status: int) -> None:
    bench.api.answers.append(Response(status_code=status, headers={"Retry-After": "0.1"}))
    with pytest.raises(RetryLater) as failure:
        await bench.mirror.deliver([change(1)])
    assert failure.value.after_s == 0.1
    assert await bench.mirror.deliver([change(1)]) == [Delivered()]


async def test_an_answer_that_is_no_entity_is_tried_again(bench: Bench) -> None:
    bench.api.answers.append(Response("<html>Maintenance</html>"))
    with pytest.raises(RetryLater):
        await bench.mirror.deliver([change(1)])


async def test_a_resource_that_answers_401_to_a_living_session_is_tried_again(bench: Bench) -> None:
    bench.api.always_401.add("/api/job/1")
    with pytest.raises(RetryLater, match="401"):
        await bench.mirror.deliver([change(1)])
    assert bench.api.logins == 1


async def test_an_unreachable_servicetrade_is_tried_again(sqlite_settings: StoreSettings) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        async with opened(sqlite_settings, f"http://127.0.0.1:{taken.getsockname()[1]}") as (mirror, _):
            with pytest.raises(RetryLater):
                await mirror.deliver([change(1)])


async def test_refused_credentials_never_make_a_dead_letter(
    api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    async with opened(sqlite_settings, api.url, password="wrong") as (mirror, _):
        for _attempt in range(2):
            with pytest.raises(RetryLater) as failure:
                await mirror.deliver([change(1)])
            assert failure.value.after_s == 30
    assert api.logins == 1


async def test_an_account_that_is_not_configured_is_a_rejection(bench: Bench) -> None:
    with pytest.raises(Reject, match="'nobody' is not configured"):
        await bench.mirror.deliver([change(1, account="nobody")])


async def test_an_id_that_servicetrade_cannot_have_given_out_is_a_rejection(bench: Bench) -> None:
    with pytest.raises(Reject, match="not an entity id"):
        await bench.mirror.deliver([change(1, 0)])
