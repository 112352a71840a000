"""The forward sink and a subscriber that takes what it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from schemas.encoding import decode, encode
from schemas.errors import RetryLater
from sinks.forward import STEPS
from sinks.outcome import ALREADY_DELIVERED, Delivered
from tests.sinks.forwarding import HOST, KEY, OLD_KEY, OLD_SECRET, SECRET, Bench, open_bench
from tests.sinks.making import arrived, change
from tests.sinks.signatures import verified
from tests.sinks.subscriber import answer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(sqlite_settings: StoreSettings) -> AsyncIterator[Bench]:
    async with open_bench(sqlite_settings) as found:
        yield found


async def test_a_change_is_posted_as_a_signed_webhook(bench: Bench) -> None:
    one = change(7, 123, action="created")
    async with bench.sink() as sink:
        assert (sink.name, sink.fate) == ("forward/crm", "sink")
        assert await sink.deliver([arrived(one)]) == [Delivered()]
    (request,) = bench.other.requests
    assert request.line == "POST /in?x=1 HTTP/1.1"
    assert request.headers["host"] == f"{HOST}:{bench.other.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "tradewind"
    assert request.headers["webhook-id"] == one.id
    assert not {"cookie", "authorization"} & request.headers.keys()
    assert verified(request.headers, request.body, KEY)
    assert json.loads(request.body) == {
        "type": "job.created",
        "timestamp": "2023-11-14T22:13:27Z",
        "data": decode(encode(one)),
    }


async def test_both_secrets_sign_during_a_rotation(bench: Bench) -> None:
    async with bench.sink(secret=Secret(f"{OLD_SECRET}\n{SECRET}")) as sink:
        await sink.deliver([arrived(change(1))])
    (request,) = bench.other.requests
    assert verified(request.headers, request.body, OLD_KEY)
    assert verified(request.headers, request.body, KEY)
    assert not verified(request.headers, request.body, bytes(24))


async def test_what_was_delivered_is_not_sent_again_unless_a_person_asks_for_it(bench: Bench) -> None:
    async with bench.sink() as sink:
        await sink.deliver([arrived(change(2))])
        assert await sink.deliver([arrived(change(1)), arrived(change(2))]) == [ALREADY_DELIVERED] * 2
        assert await sink.deliver([arrived(change(1), again=True)]) == [Delivered()]
    assert [request.headers["webhook-id"] for request in bench.other.requests] == [change(2).id, change(1).id]


async def test_every_attempt_and_repeat_has_the_same_id_and_the_same_bytes(bench: Bench) -> None:
    bench.other.answers += [answer(500), answer(502)]
    async with bench.sink() as sink:
        for _ in range(2):
            with pytest.raises(RetryLater):
                await sink.deliver([arrived(change(1))])
        await sink.deliver([arrived(change(1))])
        await sink.deliver([arrived(change(1), again=True)])
    assert len(bench.other.requests) == 4
    assert len({(request.headers["webhook-id"], request.body) for request in bench.other.requests}) == 1
    assert all(verified(request.headers, request.body, KEY) for request in bench.other.requests)


async def test_a_repeat_reads_as_it_stands_in_the_log_not_as_we_would_write_it(bench: Bench) -> None:
    arrival = arrived(change(1))
    arrival.record.value = b'{"as": "it stands",  "old_value": 123456789012345678901234567890}'
    async with bench.sink() as sink:
        await sink.deliver([arrival])
    assert arrival.record.value in bench.other.requests[0].body


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_repeats_at_most_the_same_request(bench: Bench, step: str) -> None:
    def crash(reached: str) -> None:
        if reached == step:
            raise ZeroDivisionError

    async with bench.sink(at=crash) as sink:
        with pytest.raises(ZeroDivisionError):
            await sink.deliver([arrived(change(1))])
    async with bench.sink() as sink:
        assert await sink.deliver([arrived(change(1))]) == [Delivered()]
    assert len({(request.headers["webhook-id"], request.body) for request in bench.other.requests}) == 1


async def test_changes_share_connections_and_take_no_cookies_along(bench: Bench) -> None:
    bench.other.answers.append(answer(200, "thanks", Set_Cookie="a=b"))
    async with bench.sink() as sink:
        for number in range(1, 6):
            await sink.deliver([arrived(change(number))])
    assert bench.other.connections == 1
    assert not any("cookie" in request.headers for request in bench.other.requests)


async def test_a_connection_that_the_subscriber_has_closed_meanwhile_costs_no_pause(bench: Bench) -> None:
    bench.other.stay_open = False
    async with bench.sink() as sink:
        for number in range(1, 6):
            assert await sink.deliver([arrived(change(number))]) == [Delivered()]


async def test_changes_of_many_entities_go_at_the_same_time(bench: Bench) -> None:
    everybody = asyncio.Barrier(8)

    async def together(writer: asyncio.StreamWriter) -> None:
        await everybody.wait()
        writer.write(answer(200))

    bench.other.answers += [together] * 8
    async with bench.sink() as sink, asyncio.timeout(30):
        outcomes = await asyncio.gather(*(sink.deliver([arrived(change(1, number))]) for number in range(8)))
    assert outcomes == [[Delivered()]] * 8
