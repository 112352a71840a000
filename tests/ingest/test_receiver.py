"""The receiver over real sockets against a real broker: what it answers, and what is in the log by then."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest

from runtime import metrics
from schemas.topics import RECEIPT_HEADER
from tests.ingest.running import ACME, BOLT, HOST, LIMIT, Running

pytestmark = pytest.mark.anyio

UNKNOWN = "tradewind_webhooks_unknown_url_total"

BODIES = {
    "an ordinary webhook": json.dumps({"messageId": "m", "data": []}).encode(),
    "nothing": b"",
    "invalid UTF-8": b'{"data": "\xff\xfe\x00\xc3("}',
    "not JSON": b"<xml>hello</xml>",
    "a mebibyte of nesting": b"[" * 2**20,
    "exactly the limit, and incompressible": random.Random(1).randbytes(LIMIT),
}


def outcomes(account: str, outcome: str) -> float:
    found = metrics.REGISTRY.get_sample_value(
        "tradewind_webhooks_received_total", {"account": account, "outcome": outcome}
    )
    return found or 0.0


def request(path: str, body: bytes, *headers: str, method: str = "POST", close: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    if close:
        lines.append("connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_whatever_the_body_is_it_stands_in_the_log_byte_for_byte_once_it_is_answered_2xx(
    receiver: Running,
) -> None:
    for count, (name, body) in enumerate(BODIES.items(), start=1):
        answer = await receiver.http.post(ACME, content=body)
        assert answer.status_code == 204, name
        stored = await receiver.stored()
        assert len(stored) == count, name
        assert stored[-1].value == body, name
        assert stored[-1].key == b"acme"


def unknown_urls() -> float:
    found = (metrics.REGISTRY.get_sample_value(UNKNOWN, {"account": account}) for account in ("", "acme"))
    return sum(one or 0 for one in found)


async def test_a_url_that_is_not_valid_is_answered_404_and_stores_nothing(receiver: Running) -> None:
    before = unknown_urls()
    paths = [
        "/",
        "/webhooks/acme/wrong",
        "/webhooks/nobody/winter-7f3a-0123456",
        "/webhooks/acme/bolt-secret",
        "/webhooks/acme//winter-7f3a-0123456",
        "/webhooks/acme/winter-7f3a-0123456/more",
        "/webhooks/acme/%ff%fe",
        "/webhooks/acme/../acme/winter-7f3a-0123456",
        "/webhooks/acme/winter-7f3a-0123456%00",
        "/" + "a" * 10_000,
        "/webhooks/acme/?winter-7f3a-0123456",
    ]
    for path in paths:
        assert (await receiver.talk(request(path, b"{}"))).startswith(b"HTTP/1.1 404 "), path
    assert unknown_urls() == before + len(paths)
    assert await receiver.stored() == []


async def test_a_trailing_slash_a_query_and_either_live_secret_are_accepted_without_a_redirect(
    receiver: Running,
) -> None:
    paths = [
        f"{ACME}/",
        "/webhooks/acme/summer-91bc-0123456",
        "/webhooks/acme/summer-91bc-0123456/",
        f"{ACME}?source=x",
    ]
    for path in paths:
        assert (await receiver.http.post(path, content=path.encode())).status_code == 204
    assert [record.value for record in await receiver.stored()] == [path.encode() for path in paths]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_another_method_is_answered_405_and_stores_nothing(receiver: Running, method: str) -> None:
    assert (await receiver.http.request(method, ACME)).status_code == 405
    assert await receiver.stored() == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit_is_answered_413_counted_and_not_stored(receiver: Running, chunked: bool) -> None:
    before = outcomes("acme", "too_large")
    size = LIMIT + 1

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, size, 65_536):
            yield b"x" * min(65_536, size - start)

    content = stream() if chunked else b"x" * size
    answer = await receiver.http.post(ACME, content=content)
    assert answer.status_code == 413
    assert outcomes("acme", "too_large") == before + 1
    assert await receiver.stored() == []
    assert (await receiver.http.post(ACME, content=b"next")).status_code == 204


async def test_a_sender_of_far_too_much_gets_the_413_and_not_a_reset(receiver: Running) -> None:
    # A reset is "no answer" to ServiceTrade, and it would send the same again.
    answer = await receiver.http.post(ACME, content=b"x" * (5 * LIMIT))
    assert answer.status_code == 413


async def test_two_hundred_requests_at_once_are_all_stored_under_receipts_of_their_own(receiver: Running) -> None:
    bodies = {f"body {number}".encode() for number in range(200)}
    answers = await asyncio.gather(*(receiver.http.post(ACME, content=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {204}
    stored = await receiver.stored()
    assert {record.value for record in stored} == bodies
    assert len(stored) == 200
    receipts = {dict(record.headers)[RECEIPT_HEADER] for record in stored}
    assert len(receipts) == 200
    assert all(len(record.headers) == 1 for record in stored)


async def test_requests_that_follow_one_another_are_stored_in_order_per_account(receiver: Running) -> None:
    for number in range(30):
        for url in (ACME, BOLT):
            assert (await receiver.http.post(url, content=str(number).encode())).status_code == 204
    stored = await receiver.stored()
    for account in (b"acme", b"bolt"):
        mine = [record for record in stored if record.key == account]
        assert [record.value for record in mine] == [str(number).encode() for number in range(30)]
        assert len({record.partition for record in mine}) == 1


async def test_requests_pipelined_on_one_connection_are_answered_and_stored_in_order(receiver: Running) -> None:
    both = request(ACME, b"first", close=False) + request("/nowhere", b"no", close=False) + request(ACME, b"second")
    answers = await receiver.talk(both)
    assert [line.split(b" ", 2)[1] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")] == [
        b"204",
        b"404",
        b"204",
    ]
    assert [record.value for record in await receiver.stored()] == [b"first", b"second"]


async def test_a_sender_that_goes_away_in_the_middle_of_its_body_stores_nothing(receiver: Running) -> None:
    _, writer = await asyncio.open_connection(HOST, receiver.port)
    writer.write(f"POST {ACME} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    # The receiver has seen the end of the first once it answers a second that it got later.
    assert (await receiver.http.post(ACME, content=b"whole")).status_code == 204
    assert [record.value for record in await receiver.stored()] == [b"whole"]


async def test_a_sender_that_waits_for_100_continue_is_told_to_go_on(receiver: Running) -> None:
    reader, writer = await asyncio.open_connection(HOST, receiver.port)
    writer.write(request(ACME, b"x" * 2048, "expect: 100-continue")[:-2048])
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"x" * 2048)
        assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
    writer.close()
    await writer.wait_closed()
    assert [len(record.value or b"") for record in await receiver.stored()] == [2048]


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_a_request_that_offers_an_upgrade_is_stored_whole_or_not_answered_2xx(
    receiver: Running, protocol: str
) -> None:
    # Some HTTP clients offer h2c with every request; a 2xx for a body that was not read is a lost webhook.
    answer = await receiver.talk(
        request(ACME, b"{}", f"connection: upgrade, close\r\nupgrade: {protocol}", close=False)
    )
    stored = [record.value for record in await receiver.stored()]
    assert (answer[9:12], stored) in [(b"204", [b"{}"]), (b"503", [])]


async def test_an_http_1_0_request_is_stored(receiver: Running) -> None:
    answer = await receiver.talk(f"POST {ACME} HTTP/1.0\r\ncontent-length: 3\r\n\r\nold".encode())
    assert b" 204 " in answer.split(b"\r\n")[0]
    assert [record.value for record in await receiver.stored()] == [b"old"]
