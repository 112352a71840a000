"""A user's own function as a sink: what it is called with, and what becomes of what it raises."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import Response

from runtime.database import open_database
from runtime.settings import AccountSettings, ServiceTradeSettings, StoreSettings
from runtime.sink_settings import CustomSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.errors import Reject, RetryLater, SettingsError, SinkError
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks.custom import load_custom, open_custom
from sinks.memory import Remembering
from sinks.memory_store import MemoryStore
from sinks.outcome import ALREADY_DELIVERED, Delivered
from tests.servicetrade.conftest import RIGHT
from tests.servicetrade.fake import FakeServiceTrade
from tests.sinks import custom_functions
from tests.sinks.making import arrived, change
from tests.sinks.subscriber import answer, subscriber

pytestmark = pytest.mark.anyio

MODULE = "tests.sinks.custom_functions"


def settings(function: str, **more: Any) -> CustomSettings:
    return CustomSettings(deliver=f"{MODULE}:{function}", **more)


@asynccontextmanager
async def opened(
    store: StoreSettings, url: str, how: CustomSettings, *, password: str = RIGHT
) -> AsyncIterator[Remembering]:
    """The custom sink "mine" beside a ServiceTrade with the account acme."""
    hook = Secret("of-no-use-in-this-test")
    accounts = {"acme": AccountSettings(username="api", password=Secret(password), hook_secret=hook)}
    async with open_database(store) as engine:
        sessions, memory = SessionStore(engine, store.key), MemoryStore(engine)
        await upgrade(engine)
        async with (
            open_client(ServiceTradeSettings(base_url=url), accounts, sessions) as client,
            open_custom("mine", how, client, memory) as sink,
        ):
            yield sink


class Bench:
    """Custom sinks beside a ServiceTrade."""

    def __init__(self, api: FakeServiceTrade, store: StoreSettings) -> None:
        self.api = api
        self._store = store

    @asynccontextmanager
    async def sink(self, function: str, **more: Any) -> AsyncIterator[Remembering]:
        async with opened(self._store, self.api.url, settings(function, **more)) as found:
            yield found

    async def failure(self, function: str, **more: Any) -> Any:
        """What the delivery of one change raises."""
        async with self.sink(function, **more) as sink:
            with pytest.raises(SinkError) as caught:
                await sink.deliver([arrived(change(1))])
        return caught.value


@pytest.fixture
async def bench(api: FakeServiceTrade, sqlite_settings: StoreSettings) -> Bench:
    return Bench(api, sqlite_settings)


async def test_the_function_gets_the_change_and_all_that_it_needs(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    custom_functions.seen.clear()
    token = Secret("hush")
    async with bench.sink("note", options={"url": "u"}, secrets={"token": token}) as sink:
        assert (sink.name, sink.fate) == ("custom/mine", "account")
        arrival = arrived(change(1))
        arrival.attempts = 2
        assert await sink.deliver([arrival]) == [Delivered()]
        assert await sink.deliver([arrived(change(1))]) == [ALREADY_DELIVERED]
        await sink.deliver([arrived(change(1), again=True)])
    (one, context), (_, redriven) = custom_functions.seen
    assert one == change(1)
    assert (context.account, context.idempotency_key, context.attempt) == ("acme", change(1).id, 3)
    assert (context.options, context.secrets) == ({"url": "u"}, {"token": token})
    assert (context.redriven, redriven.redriven) == (False, True)
    assert ("sinks.custom.mine", logging.INFO, "noted") in caplog.record_tuples


async def test_the_function_reads_servicetrade_over_the_shared_session(bench: Bench) -> None:
    async with bench.sink("read") as sink:
        await sink.deliver([arrived(change(1, 7))])
        await sink.deliver([arrived(change(1, 8))])
    assert bench.api.asked["GET /api/job/7"] == bench.api.asked["GET /api/job/8"] == bench.api.logins == 1


async def test_the_function_cannot_change_what_is_reported_and_remembered(bench: Bench) -> None:
    arrival = arrived(change(1))
    async with bench.sink("meddle") as sink:
        await sink.deliver([arrival])
        assert await sink.deliver([arrived(change(1))]) == [ALREADY_DELIVERED]
    assert arrival.item == change(1)


async def test_the_function_may_reject_and_ask_for_another_try(bench: Bench) -> None:
    async with subscriber() as other:
        url = {"url": f"http://127.0.0.1:{other.port}/"}
        other.answers += [answer(404), answer(500)]
        rejected = await bench.failure("call", options=url)
        later = await bench.failure("call", options=url)
    assert (type(rejected), str(rejected)) == (Reject, "nobody knows job/1")
    assert (type(later), str(later), later.after_s, later.scope) == (RetryLater, "later", 7, "sink")


async def test_a_request_of_the_functions_own_that_gets_no_answer_is_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        error = await bench.failure("call", options={"url": f"http://127.0.0.1:{taken.getsockname()[1]}/"})
    assert (type(error), error.scope) == (RetryLater, "entity")
    assert str(error).startswith("no answer: ConnectError")
    assert "custom.failed" not in caplog.text


@pytest.mark.parametrize(("function", "name"), [("fail", "KeyError"), ("run_out_of_time_itself", "TimeoutError")])
async def test_a_fault_of_the_function_is_the_entitys_and_its_traceback_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture, function: str, name: str
) -> None:
    error = await bench.failure(function)
    assert (type(error), error.scope, error.lasting) == (RetryLater, "entity", False)
    assert str(error).startswith(name)
    (record,) = [one for one in caplog.records if one.message == "custom.failed"]
    assert record.__dict__["sink"] == "custom/mine"
    assert record.exc_info is not None
    assert function in caplog.text, "the traceback names the function"


async def test_a_function_that_never_ends_is_cancelled_and_tried_again(bench: Bench) -> None:
    error = await bench.failure("hang", timeout_s=0.05)
    assert (type(error), str(error), error.scope) == (RetryLater, "not done within 0.05 s (timeout_s)", "entity")


async def test_an_account_that_is_not_configured_is_rejected(bench: Bench) -> None:
    async with bench.sink("note") as sink:
        with pytest.raises(Reject, match="'other' is not configured"):
            await sink.deliver([arrived(change(1, account="other"))])


ANSWERS: list[tuple[int, type[SinkError], str | None]] = [
    (404, Reject, None),
    (403, Reject, None),
    (400, Reject, None),
    (408, RetryLater, "entity"),
    (500, RetryLater, "entity"),
    (429, RetryLater, "account"),
]


@pytest.mark.parametrize(("status", "expected", "scope"), ANSWERS)
async def test_what_servicetrade_answers_counts_if_the_function_leaves_it_to_the_sink(
    bench: Bench, caplog: pytest.LogCaptureFixture, status: int, expected: type[SinkError], scope: str | None
) -> None:
    bench.api.answers.append(Response(status_code=status))
    error = await bench.failure("read")
    assert (type(error), getattr(error, "scope", None)) == (expected, scope)
    assert "custom.failed" not in caplog.text


async def test_refused_credentials_put_the_account_aside_at_once(
    api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    async with opened(sqlite_settings, api.url, settings("read"), password="wrong") as sink:
        with pytest.raises(RetryLater) as caught:
            await sink.deliver([arrived(change(1))])
    assert (caught.value.scope, caught.value.lasting) == ("account", True)


async def test_a_servicetrade_that_does_not_answer_is_the_accounts_trouble(sqlite_settings: StoreSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with opened(sqlite_settings, f"http://127.0.0.1:{taken.getsockname()[1]}", settings("read")) as sink:
            with pytest.raises(RetryLater) as caught:
                await sink.deliver([arrived(change(1))])
    assert (caught.value.scope, caught.value.lasting) == ("account", False)


@pytest.mark.parametrize("function", ["note", "with_a_default"])
def test_a_function_is_loaded_by_its_import_path(function: str) -> None:
    assert load_custom("mine", settings(function)) is getattr(custom_functions, function)


BAD = {
    f"{MODULE}:one_parameter": "async def one_parameter(change, context): too many positional arguments",
    f"{MODULE}:three_parameters": "async def three_parameters(change, context): missing a required argument: 'more'",
    f"{MODULE}:by_name_only": "async def by_name_only(change, context): too many positional arguments",
    f"{MODULE}:plain": f"{MODULE}:plain must be an async def",
    f"{MODULE}:NO_FUNCTION": f"{MODULE}:NO_FUNCTION must be an async def",
    f"{MODULE}:absent": f"{MODULE} has no absent",
    "absent.absent:deliver": "absent.absent cannot be imported: ModuleNotFoundError: No module named 'absent'",
    "tests.sinks.custom_broken:deliver": "custom_broken cannot be imported: RuntimeError: no configuration found",
}


@pytest.mark.parametrize("deliver", BAD)
def test_a_function_that_cannot_be_called_is_told_in_a_sentence(deliver: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_custom("mine", CustomSettings(deliver=deliver))
    message = str(caught.value)
    assert message.startswith("sinks.custom.mine.deliver: ")
    assert message.endswith(BAD[deliver])
    assert "\n" not in message
