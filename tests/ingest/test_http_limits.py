"""The limits under uvicorn, over real sockets, with an application of a few lines behind them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.hooks import Hooks
from ingest.http_limits import PIPELINED, HttpLimits, LimitedProtocol
from runtime import metrics
from runtime.ops import serving
from runtime.settings import IngestSettings
from tests.ingest.fuzz import fuzz

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"
SECRET = "winter-7f3a-0123456"
HOOK = f"/webhooks/acme/{SECRET}"
WRONG = "/webhooks/acme/wrong"
HEAD_LIMIT = 1_000
PATIENT = IngestSettings(head_limit_bytes=HEAD_LIMIT, ack_timeout_s=1.0, answer_timeout_s=4.5, connection_limit=100)
IMPATIENT = IngestSettings(
    head_limit_bytes=HEAD_LIMIT, ack_timeout_s=0.1, answer_timeout_s=0.3, idle_timeout_s=0.3, connection_limit=100
)

Message = MutableMapping[str, Any]


@dataclass
class App:
    """Stores bodies that come on the valid URL: 204, or 503 after its deadline; 404 for all else, without reading."""

    deadline_s: float = 20.0
    answer: bytes = b""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    disconnects: int = 0
    stored: list[bytes] = field(default_factory=list)

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["path"] != HOOK:
            await self._say(send, 404)
            return
        self.begun += 1
        body, more = b"", True
        try:
            async with asyncio.timeout(self.deadline_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        self.disconnects += 1
                        return
                    body += message["body"]
                    more = message["more_body"]
                await self.may_answer.wait()
        except TimeoutError:
            await self._say(send, 503)
        else:
            self.stored.append(body)
            await self._say(send, 200)

    async def _say(self, send: Callable[[Message], Awaitable[None]], status: int) -> None:
        length = str(len(self.answer)).encode()
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", length)]})
        await self.may_end.wait()
        await send({"type": "http.response.body", "body": self.answer})


@dataclass(frozen=True)
class Served:
    app: App
    limits: HttpLimits
    port: int


@asynccontextmanager
async def served(settings: IngestSettings, *, deadline_s: float = 20.0) -> AsyncIterator[Served]:
    app = App(deadline_s=deadline_s)
    app.may_answer.set()
    app.may_end.set()
    limits = HttpLimits(settings, Hooks({"acme": (SECRET,)}).account_of)
    config = uvicorn.Config(
        app,
        host=HOST,
        port=0,
        http=limits.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
    async with limits.enforced(), serving(config) as port:
        yield Served(app, limits, port)


class Peer:
    """A sender that speaks bytes, and does not mind that the server hangs up on it in the middle of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> bool:
        """Whether the connection still takes bytes."""
        try:
            await self._loop.sock_sendall(self._sock, data)
        except ConnectionError:
            return False
        return True

    async def to_the_end(self) -> bytes:
        """All that comes until the server hangs up."""
        received = b""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while some := await self._loop.sock_recv(self._sock, 65_536):
                    received += some
        return received

    async def until(self, expected: bytes) -> None:
        """Read until this has come."""
        received = b""
        async with asyncio.timeout(20):
            while expected not in received:
                some = await self._loop.sock_recv(self._sock, 65_536)
                assert some, received
                received += some

    async def for_ever(self, piece: bytes, *, pause_s: float = 0.0) -> bytes:
        """Send this again and again until the server hangs up; what it said."""

        async def send() -> None:
            while await self.send(piece):  # noqa: ASYNC110 - the pause is the sender's pace
                await asyncio.sleep(pause_s)

        sending = asyncio.create_task(send())
        try:
            return await self.to_the_end()
        finally:
            sending.cancel()
            await asyncio.wait([sending])


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    with socket.socket() as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        yield Peer(sock)


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send bytes, and return all that comes back until the server hangs up."""
    async with connected(port) as peer:
        for piece in pieces:
            await peer.send(piece)
        return await peer.to_the_end()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


def head(path: str, *headers: str, length: int = 0, close: bool = False) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {length}", *headers]
    return "\r\n".join([*lines, *(["connection: close"] if close else []), "", ""]).encode()


def chunked(path: str = HOOK) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def statuses(answers: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def limited(limit: str, account: str = "acme") -> float:
    labels = {"account": account, "limit": limit}
    return metrics.REGISTRY.get_sample_value("tradewind_webhooks_limited_total", labels) or 0.0


def of_length(path: str, size: int) -> bytes:
    """A head of so many bytes."""
    plain = head(path, "x: ", close=True)
    return head(path, "x: " + "a" * (size - len(plain)), close=True)


# -- heads ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("path", "account", "status"), [(HOOK, "acme", 503), (WRONG, "", 431)])
async def test_a_head_above_the_limit_is_refused_however_it_arrives(path: str, account: str, status: int) -> None:
    whole = of_length(path, HEAD_LIMIT + 1)
    hundred_kib = of_length(path, 100 * 1024)
    many = head(path, *(f"x{number}: y" for number in range(1_000)))
    async with served(PATIENT) as server:
        arrivals = [
            [whole],
            [whole[start : start + 100] for start in range(0, len(whole), 100)],
            [whole[:600], whole[600:]],
            [hundred_kib],
            [many],
            [head(HOOK, length=3) + b"abc" + of_length(path, 3 * HEAD_LIMIT)],
        ]
        for number, pieces in enumerate(arrivals):
            before = limited("head", account)
            answer = await talk(server.port, *pieces)
            assert statuses(answer)[-1] == status, number
            assert b"connection: close" in answer
            assert limited("head", account) == before + 1
        assert server.app.stored == [b"abc"]


async def test_a_head_of_exactly_the_limit_is_taken_with_whatever_follows_it() -> None:
    async with served(PATIENT) as server:
        for size in (HEAD_LIMIT, HEAD_LIMIT - 1):
            first = of_length(HOOK, size).replace(b"connection: close", b"connection: alive")
            assert len(first) == size
            assert statuses(await talk(server.port, first + of_length(HOOK, HEAD_LIMIT))) == [200, 200]


async def test_a_head_that_does_not_end_is_refused_be_it_the_url_or_the_headers() -> None:
    post = f"POST {HOOK} HTTP/1.1\r\n".encode()
    endless = [
        *((f"POST {HOOK}?".encode(), piece, 503) for piece in (b"a" * 7, b"a" * 50_000)),
        *((f"POST {path}".encode(), b"a" * 50, 431) for path in ("/", f"{HOOK}/", WRONG)),
        *((post, piece, 503) for piece in (b"x: y\r\n", b"x" * 999, b"x: " + b"y" * 100_000)),
        (b"", b"\r\n" * 100, 431),
    ]
    async with served(PATIENT) as server:
        for start, piece, status in endless:
            async with connected(server.port) as peer:
                await peer.send(start)
                assert statuses(await peer.for_ever(piece)) == [status], (start, piece[:9])
        assert server.app.begun == 0


async def test_trailers_and_chunk_extensions_that_do_not_end_are_refused() -> None:
    starts = [b"0\r\nx: ", b"0\r\nx: y\r\n", b"5;", b"5\r\nhello\r\n0\r\nx: "]
    async with served(PATIENT) as server:
        for number, start in enumerate(starts, start=1):
            async with connected(server.port) as peer:
                before = limited("head")
                await peer.send(chunked() + start)
                endless = b"x: y\r\n" if start.endswith(b"\n") else b"y" * 700
                assert statuses(await peer.for_ever(endless)) == [503], start
                assert limited("head") == before + 1
            await until(lambda number=number: server.app.disconnects == number)  # type: ignore[misc]
        assert server.app.stored == []


async def test_a_body_above_the_limit_on_heads_is_none_of_its_business() -> None:
    body = bytes(range(256)) * 1_000
    pieces = b"".join(b"%x;e=1\r\n%b\r\n" % (size, body[:size]) for size in (1, 5_000, 999, 1_000, 1_001))
    small = b"".join(b"1\r\na\r\n" for _ in range(5_000))
    async with served(PATIENT) as server:
        assert statuses(await talk(server.port, head(HOOK, length=len(body), close=True) + body)) == [200]
        close = chunked().replace(b"host: x", b"connection: close")
        assert statuses(await talk(server.port, close + pieces + b"0\r\ntrailer: x\r\n\r\n")) == [200]
        assert statuses(await talk(server.port, close + small + b"0\r\n\r\n")) == [200]
        expected = [body, b"".join(body[:size] for size in (1, 5_000, 999, 1_000, 1_001)), b"a" * 5_000]
        assert server.app.stored == expected
        unread = head(WRONG, length=1_000_000) + b"x" * 1_000_000
        assert statuses(await talk(server.port, unread + head(HOOK, close=True))) == [404, 200]


# -- time ----------------------------------------------------------------------------------------------------------
async def test_a_head_that_does_not_come_to_its_end_in_time_is_refused() -> None:
    post = f"POST {HOOK} HTTP/1.1".encode()
    on_url = [post[:-9], post, post + b"\r\nhost: x\r\n", head(HOOK)[:-1]]
    on_none = [b"P", post[:-12], f"POST {WRONG} HTTP/1.1\r\nhost: x\r\n".encode()]
    async with served(IMPATIENT) as server:
        before, before_unknown = limited("slow"), limited("slow", "")
        answers = await asyncio.gather(*(talk(server.port, start) for start in [*on_url, *on_none]))
        assert [statuses(answer) for answer in answers] == [[503]] * len(on_url) + [[]] * len(on_none)
        assert limited("slow") == before + len(on_url)
        assert limited("slow", "") == before_unknown + len(on_none)
        assert server.app.begun == 0


async def test_a_head_that_trickles_is_refused_also_on_a_connection_that_was_good_before() -> None:
    for first, expected in ((b"", [503]), (head(HOOK), [200, 503])):
        async with served(IMPATIENT) as server, connected(server.port) as peer:
            await peer.send(first + f"POST {HOOK} HTTP/1.1\r\nx: ".encode())
            assert statuses(await peer.for_ever(b"a", pause_s=0.01)) == expected


async def test_a_connection_that_asks_for_nothing_is_closed_and_not_counted() -> None:
    async with served(IMPATIENT) as server:
        before = limited("slow"), limited("slow", "")
        starts = (b"", b"\r\n", head(HOOK), head(WRONG) + b"\r\n")
        answers = await asyncio.gather(*(talk(server.port, start) for start in starts))
        assert [statuses(answer) for answer in answers] == [[], [], [200], [404]]
        assert (limited("slow"), limited("slow", "")) == before


async def test_empty_lines_do_not_keep_a_connection_open() -> None:
    async with served(IMPATIENT) as server, connected(server.port) as peer:
        await peer.send(head(HOOK))
        assert statuses(await peer.for_ever(b"\r\n", pause_s=0.05)) == [200]


async def test_a_body_that_still_trickles_after_the_answer_does_not_hold_the_connection() -> None:
    async with served(IMPATIENT, deadline_s=0.1) as server:
        for path, status in ((HOOK, 503), (WRONG, 404)):
            async with connected(server.port) as peer:
                await peer.send(head(path, length=1_000_000))
                assert statuses(await peer.for_ever(b"a", pause_s=0.01)) == [status]
        await until(lambda: not server.limits.connections)


async def test_a_request_that_the_application_has_not_answered_is_left_to_it() -> None:
    async with served(IMPATIENT) as server, connected(server.port) as peer:
        server.app.may_answer.clear()
        await peer.send(head(HOOK, length=2) + b"{}" + head(HOOK)[:20])
        async with connected(server.port) as idle:
            assert await idle.to_the_end() == b""  # So the sweep has passed both.
        server.app.may_answer.set()
        await peer.send(head(HOOK, close=True)[20:])
        assert statuses(await peer.to_the_end()) == [200, 200]


async def test_a_heads_time_begins_with_its_first_byte_and_idleness_with_the_last_answer() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        now = asyncio.get_running_loop().time
        server.app.may_answer.clear()
        await until(lambda: len(server.limits.connections) == 1)
        (connection,) = server.limits.connections
        connected_at = now()
        await peer.send(head(HOOK)[:-1])
        await until(lambda: "url" in vars(connection))
        connection.check(connected_at + PATIENT.answer_timeout_s)
        await peer.send(head(HOOK)[-1:])
        await until(lambda: server.app.begun == 1)
        unanswered_at = now()
        server.app.may_answer.set()
        await peer.until(b" 200 ")
        connection.check(unanswered_at + PATIENT.idle_timeout_s)
        await peer.send(head(HOOK))
        await peer.until(b" 200 ")
        connection.check(now() + PATIENT.idle_timeout_s)
        assert await peer.to_the_end() == b""


async def test_a_sender_that_does_not_read_loses_its_connection() -> None:
    async with served(IMPATIENT) as server:
        server.app.answer = b"x" * 10_000_000
        for more in (b"", head(HOOK) * 5, b"rubbish\r\n\r\n", head(HOOK, close=True)):
            async with connected(server.port) as peer:
                await peer.send(head(HOOK) + more)
                await until(lambda: server.app.begun > 0)
                await until(lambda: not server.limits.connections)
            server.app.begun = 0


async def test_the_server_ends_though_senders_neither_go_on_nor_read() -> None:
    async with served(IMPATIENT, deadline_s=0.1) as server, contextlib.AsyncExitStack() as stack:
        server.app.answer = b"x" * 10_000_000
        for start in (b"", b"POST", head(HOOK), head(HOOK, length=10), head(HOOK) * 5):
            await (await stack.enter_async_context(connected(server.port))).send(start)
        # They stay connected while the server shuts down.
        await until(lambda: server.app.begun >= 3)
        stack.pop_all()


# -- connections ---------------------------------------------------------------------------------------------------
async def test_a_connection_above_the_limit_is_told_so_without_being_read(caplog: pytest.LogCaptureFixture) -> None:
    settings = IngestSettings(connection_limit=2, ack_timeout_s=0.1, answer_timeout_s=0.3)
    async with served(settings) as server, connected(server.port) as first:
        async with connected(server.port):
            await until(lambda: len(server.limits.connections) == 2)
            before = limited("connections", "")
            for _ in range(5):
                answer = await talk(server.port)
                assert statuses(answer) == [503]
                assert b"connection: close" in answer
            assert limited("connections", "") == before + 5
            assert len(server.limits.connections) == 2
            await first.send(head(HOOK))
            await first.until(b"200")
        await until(lambda: len(server.limits.connections) == 1)
        assert statuses(await talk(server.port, head(HOOK, close=True))) == [200]
        await until(lambda: bool(caplog.records))
        # What follows within a minute is counted, and not logged by the sweep that ends the first connection.
        async with connected(server.port):
            await until(lambda: len(server.limits.connections) == 2)
            assert statuses(await talk(server.port)) == [503]
            await first.send(b"P")
            assert await first.to_the_end() == b""
        assert limited("connections", "") == before + 6
    told = [(r.levelname, r.getMessage(), r.__dict__["limit"], r.__dict__["connections"]) for r in caplog.records]
    assert told == [("WARNING", "ingest.limited", "connections", 5)]


async def test_requests_piled_up_on_one_connection_are_answered_up_to_a_limit() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        server.app.may_answer.clear()
        await peer.send(head(HOOK, length=1).join([b"", *([b"x"] * 1_000)]))
        await until(lambda: server.app.begun == 1)
        server.app.may_answer.set()
        assert statuses(await peer.to_the_end()) == [200] * (PIPELINED + 1) + [503]
        assert server.app.stored == [b"x"] * (PIPELINED + 1)


async def test_a_request_behind_one_that_closes_the_connection_is_not_begun() -> None:
    async with served(PATIENT) as server:
        assert statuses(await talk(server.port, head(HOOK, close=True) + head(HOOK))) == [200]
        await until(lambda: not server.limits.connections)
    assert server.app.begun == 1


# -- malformed -----------------------------------------------------------------------------------------------------
MALFORMED = {
    "a header without a colon": "POST {path} HTTP/1.1\r\nhost x\r\n\r\n",
    "a NUL in a header": "POST {path} HTTP/1.1\r\nhost: \0\r\n\r\n",
    "a folded header": "POST {path} HTTP/1.1\r\nx: a\r\n b\r\n\r\n",
    "a version that does not exist": "POST {path} HTTP/9.9\r\n\r\n",
    "another protocol": "POST {path} SMTP/1.0\r\n\r\n",
    "lines that end in LF": "POST {path} HTTP/1.1\nhost: x\n\n",
    "two lengths": "POST {path} HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{{}}",
    "a length and chunks": "POST {path} HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length that is no number": "POST {path} HTTP/1.1\r\ncontent-length: two\r\n\r\n{{}}",
    "a length below zero": "POST {path} HTTP/1.1\r\ncontent-length: -1\r\n\r\n{{}}",
    "a length beyond 64 bits": "POST {path} HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n{{}}",
    "an unknown encoding": "POST {path} HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n{{}}",
    "a chunk size that is none": "POST {path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk longer than its size": "POST {path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "a query that is not ASCII": "POST {path}?\xff HTTP/1.1\r\n\r\n",
    "a query with a NUL": "POST {path}?\0 HTTP/1.1\r\n\r\n",
    "an unknown method": "PSOT {path} HTTP/1.1\r\n\r\n",
    "CONNECT": "CONNECT {path} HTTP/1.1\r\n\r\n",
    "a faulty upgrade": "POST {path} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    "transfer-encoding: gzip\r\n\r\n{{}}",
}


@pytest.mark.parametrize(("path", "account", "status"), [(HOOK, "acme", 503), (WRONG, "", 400)])
async def test_what_is_not_http_is_answered_once_and_on_a_valid_url_so_that_it_comes_again(
    path: str, account: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(PATIENT) as server:
        for name, text in MALFORMED.items():
            request = text.format(path=path).encode("latin-1")
            caplog.clear()
            before = limited("malformed", account)
            for url in (path, f"http://example.com{path}"):
                answer = await talk(server.port, request.replace(path.encode(), url.encode()))
                # The application may have found the URL wrong before the fault came.
                assert statuses(answer) in ([status], [404] if path == WRONG else [status]), name
            assert limited("malformed", account) == before + 2, name
            assert [record.levelname for record in caplog.records] == (["ERROR"] * 2 if account else []), name
        assert server.app.stored == []


async def test_what_has_no_url_is_answered_400_or_404_and_logged_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    strange = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0" * 50,
        b"GET\r\n\r\n",
        b"POST http://example.com HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"POST http://example.com:999999/x HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
    ]
    async with served(PATIENT) as server:
        for request in strange:
            for pieces in ([request], [request[start : start + 1] for start in range(len(request))]):
                assert statuses(await talk(server.port, *pieces)) in ([400], [404]), request
    assert caplog.records == []


async def test_a_fault_within_a_body_is_answered_once_and_the_application_sees_a_disconnect() -> None:
    async with served(PATIENT) as server:
        for number, fault in enumerate((b"zz\r\n", b"5\r\nhelloworld\r\n", b"0\r\n\0\r\n"), start=1):
            async with connected(server.port) as peer:
                await peer.send(chunked() + b"5\r\nhello\r\n")
                await until(lambda number=number: server.app.begun == number)  # type: ignore[misc]
                await peer.send(fault)
                assert statuses(await peer.to_the_end()) == [503], fault
            await until(lambda number=number: server.app.disconnects == number)  # type: ignore[misc]
        assert server.app.stored == []


async def test_a_fault_within_a_body_that_was_answered_already_gets_no_second_answer() -> None:
    async with served(PATIENT, deadline_s=0.1) as server, connected(server.port) as peer:
        before = limited("malformed")
        await peer.send(chunked())
        await peer.until(b" 503 ")
        await peer.send(b"zz\r\n")
        assert statuses(await peer.to_the_end()) == []
        assert limited("malformed") == before


async def test_a_fault_within_a_body_whose_answer_has_begun_gets_no_second_answer() -> None:
    async with served(PATIENT, deadline_s=0.1) as server, connected(server.port) as peer:
        server.app.may_end.clear()
        await peer.send(chunked())
        await peer.until(b" 503 ")
        await peer.send(b"zz\r\n")
        assert statuses(await peer.to_the_end()) == []
        server.app.may_end.set()


async def test_a_fault_behind_a_request_that_waits_does_not_take_its_answer() -> None:
    in_head, in_body = f"POST {HOOK} HTTP/9.9\r\n\r\n".encode(), chunked() + b"zz\r\n"
    async with served(PATIENT) as server:
        for second, status in ((b"rubbish\r\n\r\n", 400), (in_head, 503), (in_body, 503)):
            server.app.begun = 0
            server.app.may_answer.clear()
            async with connected(server.port) as peer:
                await peer.send(head(HOOK, length=2) + b"{}" + second)
                await until(lambda: server.app.begun == 1)
                await peer.send(head(HOOK))  # Not read any more.
                server.app.may_answer.set()
                assert statuses(await peer.to_the_end()) == [200, status], second
        assert server.app.stored == [b"{}"] * 3


async def test_a_refusal_is_logged_with_its_account_and_the_sender_but_not_the_url(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(PATIENT) as server:
        await talk(server.port, of_length(HOOK, HEAD_LIMIT + 1))
        await talk(server.port, of_length(WRONG, HEAD_LIMIT + 1))
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "ingest.limited")
    said = record.__dict__
    assert (said["account"], said["limit"], said["client"]) == ("acme", "head", HOST)
    assert not [value for value in said.values() if SECRET in str(value)]


# -- upgrades ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_an_offer_to_upgrade_is_passed_over_and_the_body_read(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    offer = ("connection: upgrade, http2-settings", f"upgrade: {protocol}", "http2-settings: AAMAAABk")
    async with served(PATIENT) as server:
        whole = head(HOOK, *offer, length=3) + b"one" + head(HOOK, *offer, length=3) + b"two"
        whole += head(HOOK, length=5, close=True) + b"three"
        for pieces in ([whole], [whole[start : start + 7] for start in range(0, len(whole), 7)]):
            assert statuses(await talk(server.port, *pieces)) == [200, 200, 200]
            assert server.app.stored == [b"one", b"two", b"three"]
            server.app.stored.clear()
        encoded = chunked().replace(b"host: x", "\r\n".join(["connection: close, upgrade", offer[1]]).encode())
        assert statuses(await talk(server.port, encoded + b"3\r\nabc\r\n0\r\n\r\n")) == [200]
        before = limited("malformed", "")
        assert statuses(await talk(server.port, encoded + b"3\r\nabc\r\n0\r\n\r\n" + head(HOOK))) == [200]
        assert limited("malformed", "") == before
        assert server.app.stored == [b"abc"] * 2
    assert caplog.records == []


async def test_requests_that_offer_an_upgrade_pile_up_to_the_same_limit() -> None:
    async with served(PATIENT) as server:
        offers = head(HOOK, "connection: upgrade", "upgrade: h2c") * 1_000
        assert statuses(await talk(server.port, offers)) == [200] * (PIPELINED + 1) + [503]


# -- all of it -----------------------------------------------------------------------------------------------------
async def test_no_hostile_stream_on_a_valid_url_is_answered_so_that_it_would_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(PATIENT, deadline_s=1.0) as server:
        report = await fuzz(HOST, server.port, valid_paths=[HOOK], seed=11, requests=1_000)
        assert statuses(await talk(server.port, head(HOOK, length=4, close=True) + b"good")) == [200]
        assert server.app.stored[-1] == b"good"
        await until(lambda: not server.limits.connections)
    assert report.lost == {}
    assert report.garbled == 0
    assert set(report.statuses) <= {200, 400, 404, 431, 503}
    assert not [record for record in caplog.records if record.exc_info or record.name != "ingest.http_limits"]


# -- what of uvicorn's this leans on ---------------------------------------------------------------------------------
async def test_uvicorn_keeps_a_connections_state_where_the_limits_look_for_it() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        server.app.may_answer.clear()
        await peer.send(head(HOOK))
        await until(lambda: server.app.begun == 1)
        (connection,) = server.limits.connections
        names = {"client", "cycle", "flow", "headers", "loop", "parser", "pipeline", "server_state", "transport", "url"}
        assert names <= vars(connection).keys()
        assert (connection.url, connection.cycle.response_complete) == (HOOK.encode(), False)
        assert (connection.cycle.disconnected, connection.cycle.response_started) == (False, False)
        server.app.may_answer.set()
        await until(lambda: connection.cycle.response_complete)
        assert connection.cycle.response_started
        assert connection.timeout_keep_alive_task is None
        assert connection.server_state.total_requests == 1


def test_every_method_that_is_overridden_exists_in_uvicorn_with_the_same_parameters() -> None:
    names = [
        name for name, value in vars(LimitedProtocol).items() if callable(value) and hasattr(HttpToolsProtocol, name)
    ]
    assert {"connection_made", "connection_lost", "data_received", "on_response_complete"} <= set(names)
    for name in names:
        ours, theirs = getattr(LimitedProtocol, name), getattr(HttpToolsProtocol, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name


def test_the_methods_that_are_replaced_do_in_uvicorn_what_they_did_when_they_were() -> None:
    def does(method: Callable[..., None]) -> set[str]:
        return set(method.__code__.co_names)

    assert does(HttpToolsProtocol.data_received) == {
        *("_unset_keepalive_if_required", "parser", "feed_data", "httptools", "HttpParserError", "logger", "warning"),
        *("send_400_response", "HttpParserUpgrade", "_should_upgrade", "handle_websocket_upgrade"),
        "_unsupported_upgrade_warning",
    }
    assert does(HttpToolsProtocol.on_response_complete) == {
        *("server_state", "total_requests", "transport", "is_closing", "_unset_keepalive_if_required", "flow"),
        *("resume_reading", "pipeline", "pop", "_start_asgi_task", "loop", "call_later", "timeout_keep_alive"),
        *("timeout_keep_alive_task", "timeout_keep_alive_handler"),
    }
