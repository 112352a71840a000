"""The forward sink and subscribers that refuse, fall silent, drip, pour, or are not there."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime.settings import StoreSettings
from schemas.errors import Halt, Reject, RetryLater, SettingsError
from sinks.forward_http import LARGEST_BODY
from sinks.outcome import Delivered
from tests.sinks.forwarding import HOST, SECRET, Bench, open_bench, settings
from tests.sinks.making import arrived, change
from tests.sinks.subscriber import answer, hang_up, subscriber

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(sqlite_settings: StoreSettings) -> AsyncIterator[Bench]:
    async with open_bench(sqlite_settings) as found:
        yield found


async def test_410_halts(bench: Bench) -> None:
    bench.other.answers.append(answer(410, "we have moved on"))
    error = await bench.failure(Halt)
    assert str(error) == "the subscriber wants nothing more: HTTP 410: we have moved on"


async def test_a_redirect_is_not_followed(bench: Bench) -> None:
    async with subscriber() as elsewhere:
        bench.other.answers.append(answer(307, Location=f"http://127.0.0.1:{elsewhere.port}/"))
        error = await bench.failure(RetryLater)
        assert elsewhere.connections == 0
    assert error.scope == "sink"
    assert str(error) == "HTTP 307: redirects are not followed; set url to where it leads"


async def test_retry_after_is_honoured(bench: Bench) -> None:
    bench.other.answers.append(answer(429, Retry_After="7"))
    error = await bench.failure(RetryLater)
    assert (error.scope, error.after_s) == ("sink", 7.0)


async def test_a_change_that_is_refused_is_rejected_in_the_subscribers_words(bench: Bench) -> None:
    bench.other.answers.append(answer(422, "no such\r\njob\0"))
    assert str(await bench.failure(Reject)) == "HTTP 422: no such job "


async def test_nobody_listening_is_the_sinks_trouble(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        error = await bench.failure(RetryLater, url=f"http://{HOST}:{taken.getsockname()[1]}/")
    assert error.scope == "sink"
    assert str(error).startswith(f"{HOST}: no connection: 127.0.0.1: ")


async def test_a_subscriber_that_never_answers_is_given_up(bench: Bench) -> None:
    never = asyncio.Event()

    async def silence(_writer: asyncio.StreamWriter) -> None:
        await never.wait()

    bench.other.answers.append(silence)
    error = await bench.failure(RetryLater, timeout_s=0.3)
    assert (str(error), error.scope) == (f"{HOST}: no answer within 0.3 s", "entity")


async def test_a_head_that_drips_is_given_up(bench: Bench) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: and more\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    bench.other.answers.append(drip)
    assert "no answer within" in str(await bench.failure(RetryLater, timeout_s=0.3))


async def test_a_body_that_never_ends_is_not_waited_for(bench: Bench) -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 422 no\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"a" * 1024 + b"\r\n")
            await writer.drain()

    bench.other.answers.append(pour)
    error = await bench.failure(Reject)
    assert len(str(error)) < LARGEST_BODY


async def test_a_body_that_drips_does_not_hold_up_what_its_status_has_decided(bench: Bench) -> None:
    never = asyncio.Event()

    async def begin(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na")
        await never.wait()

    bench.other.answers.append(begin)
    async with bench.sink() as sink:
        assert await sink.deliver([arrived(change(1))]) == [Delivered()]
        assert await sink.deliver([arrived(change(2))]) == [Delivered()]
    assert bench.other.connections == 2


async def test_a_compressed_answer_is_not_unpacked(bench: Bench) -> None:
    bench.other.answers.append(answer(400, "not gzip", Content_Encoding="gzip"))
    assert str(await bench.failure(Reject)) == "HTTP 400: not gzip"


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000])
async def test_what_is_no_answer_is_tried_again(bench: Bench, said: bytes) -> None:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await hang_up(writer)

    bench.other.answers += [say, say]
    error = await bench.failure(RetryLater)
    assert error.scope == "entity"
    assert str(error).startswith(f"{HOST}: no answer: ")


async def test_no_secret_is_in_a_log_or_an_error(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench.other.answers += [answer(500), answer(422), answer(410), answer(302), hang_up, hang_up]
    said = []
    for expected in (RetryLater, Reject, Halt, RetryLater, RetryLater):
        error = await bench.failure(expected)
        said += [str(error), repr(error.__cause__)]
    text = "\n".join((*said, caplog.text, repr(settings(1))))
    assert SECRET not in text
    assert SECRET.removeprefix("whsec_") not in text
    assert "x=1" not in "\n".join(said)


async def test_a_url_that_only_looks_like_one_is_refused_at_the_start(bench: Bench) -> None:
    with pytest.raises(SettingsError, match=r"sinks\.forward\.crm\.url: "):
        async with bench.sink(url="http://hooks.\uff41.test/"):
            pass


async def test_a_ca_file_that_is_none_is_refused_at_the_start(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(SettingsError, match=r"sinks\.forward\.crm\.ca_file: .* cannot be used: "):
            async with bench.sink(ca_file=tmp_path / name):
                pass
