"""The mirror sink against a small ServiceTrade over HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import text
from starlette.responses import JSONResponse, Response

from runtime.database import Database, open_database
from runtime.settings import AccountSettings, ServiceTradeSettings, StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.change import EntityChange
from schemas.encoding import decode
from schemas.errors import Reject, RetryLater, Scope
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks.mirror import NO_PATH, STALE, STEPS, Mirror
from sinks.mirror_core import SUPERSEDED, snapshot_of
from sinks.mirror_store import MirrorStore
from sinks.outcome import ALREADY_DELIVERED, Delivered, Outcome
from sinks.steps import At, pass_by
from tests.servicetrade.conftest import RIGHT
from tests.servicetrade.fake import FakeServiceTrade
from tests.sinks.making import arrived, change

pytestmark = pytest.mark.anyio


def entity(**fields: object) -> Response:
    return JSONResponse({"data": {"id": 1, "name": "Repair", "updated": 10, **fields}})


class Bench:
    """A mirror, its table and the ServiceTrade that it reads."""

    def __init__(self, api: FakeServiceTrade, mirror: Mirror, store: MirrorStore, database: Database) -> None:
        self.api = api
        self.mirror = mirror
        self.store = store
        self.database = database

    @property
    def reads(self) -> int:
        return self.api.asked["GET /api/job/1"]

    async def deliver(self, *changes: EntityChange, end: int = 0) -> Sequence[Outcome]:
        return await self.mirror.deliver([arrived(one, end=end) for one in changes])

    async def row(self) -> Any:
        found = await self.store.read("acme", "job", "1")
        assert found is not None
        return found


@pytest.fixture
async def bench(api: FakeServiceTrade, sqlite_settings: StoreSettings) -> AsyncIterator[Bench]:
    async with opened(sqlite_settings, api) as found:
        yield found


@asynccontextmanager
async def opened(
    settings: StoreSettings,
    api: FakeServiceTrade,
    *,
    url: str | None = None,
    password: str = RIGHT,
    at: At = pass_by,
) -> AsyncIterator[Bench]:
    accounts = {
        "acme": AccountSettings(username="api", password=Secret(password), hook_secret=Secret("of-no-use-in-this-test"))
    }
    async with open_database(settings) as engine:
        await upgrade(engine)
        sessions, store = SessionStore(engine, settings.key), MirrorStore(engine)
        async with open_client(ServiceTradeSettings(base_url=url or api.url), accounts, sessions) as client:
            yield Bench(api, Mirror(client, store, at=at), store, engine)


async def test_the_present_state_is_written(bench: Bench) -> None:
    bench.api.answers.append(entity(status="scheduled"))
    assert await bench.deliver(change(1)) == [Delivered()]
    row = await bench.row()
    assert (row.status, decode(row.data.encode())["name"]) == ("scheduled", "Repair")


async def test_changes_that_wait_together_cost_one_read(bench: Bench) -> None:
    outcomes = await bench.deliver(change(1), change(2), change(3))
    assert outcomes == [SUPERSEDED, SUPERSEDED, Delivered()]
    assert bench.reads == 1
    assert await bench.deliver(change(1), change(2), change(3)) == [ALREADY_DELIVERED] * 3
    assert bench.reads == 1


async def test_what_was_delivered_before_is_settled_before_anything_is_read(bench: Bench) -> None:
    await bench.deliver(change(1), change(2))
    bench.api.answers.append(Response(status_code=403))
    assert await bench.deliver(change(1), change(2), change(3)) == [ALREADY_DELIVERED] * 2
    with pytest.raises(Reject, match="403"):
        await bench.deliver(change(3))


async def test_a_deletion_is_marked_without_a_read_and_takes_earlier_changes_along(bench: Bench) -> None:
    await bench.deliver(change(1))
    outcomes = await bench.deliver(change(2), change(3, action="deleted"))
    assert outcomes == [SUPERSEDED, Delivered()]
    assert await bench.deliver(change(3, action="deleted")) == [ALREADY_DELIVERED]
    assert bench.reads == 1
    row = await bench.row()
    assert row.deleted_at == change(3).last_at
    assert row.data is not None


async def test_an_entity_that_is_not_found_is_marked_deleted(bench: Bench) -> None:
    bench.api.answers.append(JSONResponse({"messages": {"error": ["Not found"]}, "data": None}, status_code=404))
    assert await bench.deliver(change(1)) == [Delivered()]
    row = await bench.row()
    assert row.deleted_at is not None


async def test_a_change_that_had_been_appended_before_a_read_began_needs_none_of_its_own(bench: Bench) -> None:
    assert await bench.deliver(change(1), end=900) == [Delivered()]
    assert await bench.deliver(change(500), change(899)) == [SUPERSEDED, SUPERSEDED]
    assert bench.reads == 1
    assert (await bench.row()).last_sequence == change(899).sequence
    assert await bench.deliver(change(900)) == [Delivered()]
    assert bench.reads == 2


async def test_a_replay_finds_a_change_that_an_earlier_read_covered_already_delivered(
    bench: Bench, sqlite_settings: StoreSettings
) -> None:
    await bench.deliver(change(1), end=900)
    await bench.deliver(change(500))
    async with opened(sqlite_settings, bench.api) as another:
        assert await another.deliver(change(500)) == [ALREADY_DELIVERED]
    assert await bench.deliver(change(500)) == [ALREADY_DELIVERED]
    assert bench.reads == 1


async def test_what_a_read_covered_and_what_it_did_not_are_told_apart_in_one_call(bench: Bench) -> None:
    await bench.deliver(change(1), end=3)
    assert await bench.deliver(change(2), change(3), change(4)) == [SUPERSEDED]
    assert await bench.deliver(change(3), change(4)) == [SUPERSEDED, Delivered()]
    assert bench.reads == 2


async def test_a_read_that_failed_covers_nothing(bench: Bench) -> None:
    bench.api.answers.append(Response(status_code=500))
    with pytest.raises(RetryLater):
        await bench.deliver(change(1), end=900)
    assert await bench.deliver(change(1)) == [Delivered()]
    assert await bench.deliver(change(2)) == [Delivered()]
    assert bench.reads == 3


async def test_a_deletion_is_applied_even_if_a_read_covers_it_and_what_follows_is_read_anew(bench: Bench) -> None:
    await bench.deliver(change(1), end=900)
    assert await bench.deliver(change(2), change(3, action="deleted"), change(4)) == [SUPERSEDED, Delivered()]
    row = await bench.row()
    assert (row.deleted_at, bench.reads) == (change(3).last_at, 1)
    assert await bench.deliver(change(4)) == [Delivered()]
    assert ((await bench.row()).deleted_at, bench.reads) == (None, 2)


async def test_a_row_that_somebody_removed_is_read_again_whatever_was_covered(bench: Bench) -> None:
    await bench.deliver(change(1), end=900)
    async with bench.database.begin() as connection:
        await connection.execute(text("DELETE FROM entities"))
    assert await bench.deliver(change(2)) == [Delivered()]
    assert (await bench.row()).data is not None


async def test_what_a_person_has_redriven_is_read_anew_whatever_is_remembered(bench: Bench) -> None:
    await bench.deliver(change(1), change(2), end=900)
    bench.api.answers.append(entity(name="now"))
    assert await bench.mirror.deliver([arrived(change(1), again=True)]) == [Delivered()]
    row = await bench.row()
    assert (row.name, row.last_sequence, bench.reads) == ("now", change(2).sequence, 2)
    both = [arrived(change(2)), arrived(change(1), again=True)]
    assert await bench.mirror.deliver(both) == [ALREADY_DELIVERED]
    assert await bench.mirror.deliver(both[1:]) == [Delivered()]
    assert bench.reads == 3


async def test_a_deletion_that_a_person_has_redriven_is_marked_although_it_was_seen(bench: Bench) -> None:
    await bench.deliver(change(1), change(3))
    deletion = change(2, action="deleted")
    assert await bench.deliver(deletion) == [ALREADY_DELIVERED]
    assert (await bench.row()).deleted_at is None
    assert await bench.mirror.deliver([arrived(deletion, again=True)]) == [Delivered()]
    assert (await bench.row()).deleted_at == deletion.last_at


async def test_a_crash_between_any_two_steps_leaves_a_row_that_the_same_change_sets_right(
    api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    class Crash(Exception):
        pass

    left = set(STEPS)

    def crash(step: str) -> None:
        if step in left:
            left.remove(step)
            raise Crash

    async with opened(sqlite_settings, api, at=crash) as bench:
        for one in (change(1), change(2), change(3), change(4, action="deleted"), change(5)):
            for _attempt in STEPS:
                with suppress(Crash):
                    await bench.deliver(one, end=4)
                    break
        row = await bench.row()
    assert not left
    assert (row.last_sequence, row.last_change_id, row.deleted_at) == (change(5).sequence, change(5).id, None)


async def test_a_read_that_is_older_than_the_row_is_skipped_as_stale(bench: Bench) -> None:
    reading = await bench.store.begin_read(change(1))
    assert reading is not None
    await bench.store.write(change(1), reading.ticket, snapshot_of({"updated": 50}))
    bench.api.answers.append(entity(updated=49))
    assert await bench.deliver(change(2)) == [STALE]
    assert await bench.deliver(change(2)) == [ALREADY_DELIVERED]


@pytest.mark.parametrize("action", ["updated", "deleted"])
async def test_a_type_that_cannot_be_read_is_skipped(bench: Bench, action: str) -> None:
    one = change(1, entity_type="quoteitem", action="deleted" if action == "deleted" else "updated")
    assert await bench.deliver(one, one) == [NO_PATH, NO_PATH]
    assert bench.api.asked.total() == 0


@pytest.mark.parametrize("status", [400, 403, 409, 422])
async def test_an_answer_about_the_request_itself_is_a_rejection(bench: Bench, status: int) -> None:
    bench.api.answers.append(JSONResponse({"messages": {"error": ["No permission"]}}, status_code=status))
    with pytest.raises(Reject, match="No permission"):
        await bench.deliver(change(1))
    assert await bench.deliver(change(1)) == [Delivered()]


@pytest.mark.parametrize(
    ("status", "scope"),
    [
        (302, "entity"),
        (408, "entity"),
        (425, "entity"),
        (500, "entity"),
        (502, "entity"),
        (429, "account"),
        (503, "account"),
    ],
)
async def test_an_answer_that_may_pass_is_tried_again(bench: Bench, status: int, scope: Scope) -> None:
    bench.api.answers.append(Response(status_code=status, headers={"Retry-After": "0.1"}))
    with pytest.raises(RetryLater) as failure:
        await bench.deliver(change(1))
    assert (failure.value.after_s, failure.value.scope, failure.value.lasting) == (0.1, scope, False)
    assert await bench.deliver(change(1)) == [Delivered()]


async def test_an_answer_that_is_no_entity_is_tried_again(bench: Bench) -> None:
    bench.api.answers.append(Response("<html>Maintenance</html>"))
    with pytest.raises(RetryLater) as failure:
        await bench.deliver(change(1))
    assert failure.value.scope == "entity"


async def test_a_resource_that_answers_401_to_a_living_session_is_the_entitys_trouble(bench: Bench) -> None:
    bench.api.always_401.add("/api/job/1")
    with pytest.raises(RetryLater, match="401") as failure:
        await bench.deliver(change(1))
    assert failure.value.scope == "entity"
    assert bench.api.logins == 1


async def test_an_unreachable_servicetrade_is_the_accounts_trouble(
    api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        async with opened(sqlite_settings, api, url=f"http://127.0.0.1:{taken.getsockname()[1]}") as bench:
            with pytest.raises(RetryLater) as failure:
                await bench.deliver(change(1))
    assert failure.value.scope == "account"


async def test_logins_that_are_throttled_are_the_accounts_trouble(bench: Bench) -> None:
    bench.api.login_answers.append(Response(status_code=429, headers={"Retry-After": "600"}))
    with pytest.raises(RetryLater) as failure:
        await bench.deliver(change(1))
    assert (failure.value.scope, failure.value.lasting) == ("account", False)
    assert 500 < (failure.value.after_s or 0) <= 600


async def test_refused_credentials_put_the_account_aside_and_never_make_a_dead_letter(
    api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    async with opened(sqlite_settings, api, password="wrong") as bench:
        for _attempt in range(2):
            with pytest.raises(RetryLater) as failure:
                await bench.deliver(change(1))
            assert (failure.value.after_s, failure.value.scope, failure.value.lasting) == (30, "account", True)
    assert api.logins == 1


async def test_a_store_that_fails_is_the_sinks_trouble(bench: Bench) -> None:
    async with bench.database.begin() as connection:
        await connection.execute(text("DROP TABLE entities"))
    for one in (change(1), change(2, action="deleted")):
        with pytest.raises(RetryLater, match="no such table") as failure:
            await bench.deliver(one)
        assert failure.value.scope == "sink"


async def test_an_account_that_is_not_configured_is_a_rejection(bench: Bench) -> None:
    with pytest.raises(Reject, match="'nobody' is not configured"):
        await bench.deliver(change(1, account="nobody"))


async def test_an_id_that_servicetrade_cannot_have_given_out_is_a_rejection(bench: Bench) -> None:
    with pytest.raises(Reject, match="not an entity id"):
        await bench.deliver(change(1, 0))
