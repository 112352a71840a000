"""The processes of the sinks that act on changes one by one, as they are wired."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runtime.settings import AccountSettings, ServiceTradeSettings, Settings, StoreSettings
from runtime.sink_settings import CustomSettings, SinksSettings, SubscriberSettings
from runtime.toml_reader import Secret
from schemas.encoding import decode
from schemas.topics import DELIVERIES
from sinks.main import Ops, run_custom, run_forward
from sinks.parking_store import Halts
from tests.servicetrade.fake import FakeServiceTrade
from tests.sinks.making import change
from tests.sinks.subscriber import Subscriber, answer, subscriber
from tests.sinks.support import Topics, until

pytestmark = pytest.mark.anyio

ACCOUNTS = {
    "acme": AccountSettings(username="api", password=Secret("right"), hook_secret=Secret("of-no-use-in-this-test"))
}
Run = Callable[[Ops, asyncio.Event], Coroutine[Any, Any, None]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(run: Run) -> AsyncIterator[None]:
    """A process's main, from the beginning of the block to its end."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(Ops(instance="one", host="127.0.0.1", port=free_port()), stop))
    try:
        yield
        stop.set()
        async with asyncio.timeout(30):
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})


class Site:
    """Settings around the test's topics and store."""

    def __init__(self, topics: Topics, store: StoreSettings, **servicetrade: str) -> None:
        self._topics = topics
        self._store = store
        self._servicetrade = ServiceTradeSettings(**servicetrade)  # type: ignore[arg-type] # base_url, if anything

    def settings(self, **sinks: Any) -> Settings:
        return Settings(
            kafka=self._topics.settings,
            store=self._store,
            accounts=ACCOUNTS,
            servicetrade=self._servicetrade,
            sinks=SinksSettings(**sinks),
        )

    def group(self, name: str) -> str:
        return f"{self._topics.settings.topic_prefix}{name}"

    def subscriber(self, port: int, name: str, **more: Any) -> SubscriberSettings:
        return SubscriberSettings(
            url=f"http://127.0.0.1:{port}/",
            secret=Secret("whsec_" + "A" * 32),
            allow_private=True,
            group=self.group(name),
            session_timeout_s=6,
            **more,
        )


def received(of: Subscriber) -> list[tuple[str, int]]:
    """Entity and number of each change, in order of arrival."""
    bodies = [json.loads(request.body)["data"] for request in of.requests]
    return [(body["entity_id"], int(body["sequence"][5:21])) for body in bodies]


async def test_subscribers_that_are_gone_dead_or_busy_delay_no_other(
    topics: Topics, sqlite_settings: StoreSettings
) -> None:
    site = Site(topics, sqlite_settings)
    async with subscriber() as alive, subscriber() as gone, subscriber() as busy:
        gone.answers += [answer(410)] * 50
        busy.answers += [answer(503, Retry_After="600")] * 50
        ports = {"alive": alive.port, "gone": gone.port, "busy": busy.port, "dead": free_port()}
        settings = site.settings(forward={name: site.subscriber(port, name) for name, port in ports.items()})
        await topics.send(*(change(number, number % 5) for number in range(1, 31)))
        async with running(lambda ops, stop: run_forward(settings, list(ports), ops, stop)):
            await until(lambda: len(alive.requests) >= 30)
            halts = Halts(topics.database)
            async with asyncio.timeout(30):
                while not await halts.of("forward/gone"):  # noqa: ASYNC110 - the store tells nobody
                    await asyncio.sleep(0.05)
            await topics.until_deliveries(30)
            assert [await halts.of(f"forward/{name}") for name in ("alive", "busy", "dead")] == [None] * 3
    for entity in range(5):
        numbers = [number for entity_id, number in received(alive) if entity_id == str(entity)]
        assert list(dict.fromkeys(numbers)) == [number for number in range(1, 31) if number % 5 == entity]
    told = {decode(record.value or b"")["sink"] for record in await topics.records(DELIVERIES)}
    assert told == {"forward/alive"}, "what the others did not take is not reported, and stays theirs"


async def test_a_subscriber_gets_what_it_wants_and_its_next_process_goes_on(
    topics: Topics, sqlite_settings: StoreSettings
) -> None:
    site = Site(topics, sqlite_settings)
    async with subscriber() as found:
        settings = site.settings(forward={"crm": site.subscriber(found.port, "crm", actions=("created",))})
        for numbers in (range(1, 6), range(6, 11)):
            await topics.send(*(change(one, one, action="created") for one in numbers), change(99, 99))
            async with running(lambda ops, stop: run_forward(settings, ["crm"], ops, stop)):
                await topics.until_deliveries(numbers[-1])
    assert sorted(received(found)) == sorted((str(number), number) for number in range(1, 11))


async def test_a_function_of_ones_own_acts_on_changes_and_its_faults_stop_only_their_entity(
    topics: Topics, sqlite_settings: StoreSettings, api: FakeServiceTrade
) -> None:
    site = Site(topics, sqlite_settings, base_url=api.url)
    module = "tests.sinks.custom_functions"
    how = CustomSettings(deliver=f"{module}:fail_for_7", group=site.group("mine"), session_timeout_s=6)
    settings = site.settings(custom={"mine": how})
    await topics.send(*(change(number, number) for number in range(1, 11)))
    async with running(lambda ops, stop: run_custom(settings, "mine", ops, stop)):
        await topics.until_deliveries(9)
    told = await topics.deliveries()
    assert sorted(int(entity) for entity, *_ in told) == [1, 2, 3, 4, 5, 6, 8, 9, 10]
