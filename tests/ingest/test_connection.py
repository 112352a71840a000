"""Connections, their limits and faults, over real sockets; behind them the real receiver, and lanes of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from ingest.connection import PIPELINED
from ingest.hooks import Hooks
from ingest.receiver import Receiver
from ingest.server import Server, listening
from ingest.webhook import Webhook
from ingest.witness import Witness
from runtime import metrics
from runtime.settings import IngestSettings
from schemas.errors import SpoolError
from tests.ingest.fuzz import fuzz
from tests.ingest.running import until_true

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"
SECRET = "winter-7f3a-0123456"
HOOK = f"/webhooks/acme/{SECRET}"
WRONG = "/webhooks/acme/wrong"
HEAD_LIMIT = 1_000
BODY_LIMIT = 500_000
PATIENT = IngestSettings(port=0, head_limit_bytes=HEAD_LIMIT, connection_limit=100)
IMPATIENT = IngestSettings(
    port=0,
    head_limit_bytes=HEAD_LIMIT,
    ack_timeout_s=0.1,
    answer_timeout_s=0.3,
    idle_timeout_s=0.3,
    connection_limit=100,
)


@dataclass
class Lanes:
    """What a receiver sees of the lanes: settle at once, or when they may."""

    may_settle: bool = True
    taken: list[Webhook] = field(default_factory=list)

    @property
    def stored(self) -> list[bytes]:
        return [webhook.body for webhook in self.taken]

    def store(self, webhook: Webhook) -> None:
        self.taken.append(webhook)
        if self.may_settle:
            webhook.settle("stored")

    def settle(self) -> None:
        """Settle all; from now on at once."""
        self.may_settle = True
        for webhook in self.taken:
            webhook.settle("stored")


@dataclass(frozen=True)
class Served:
    lanes: Lanes
    server: Server

    @property
    def port(self) -> int:
        return self.server.port


@asynccontextmanager
async def served(settings: IngestSettings) -> AsyncIterator[Served]:
    lanes, hooks = Lanes(), Hooks({"acme": (SECRET,)})
    receiver = Receiver(
        hooks,
        lanes,  # type: ignore[arg-type]  # all that it uses of lanes
        Witness(hooks, ["acme"], access_log=False),
        body_limit_bytes=BODY_LIMIT,
    )
    async with listening(receiver, settings) as server:
        yield Served(lanes, server)


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

    async def end(self) -> None:
        """Send no more."""
        self._sock.shutdown(socket.SHUT_WR)

    async def for_ever_unread(self, requests: bytes) -> int:
        """Send these again and again without reading, until the server hangs up; how many were sent."""
        sent = 0
        while await self.send(requests):
            sent += requests.count(b"POST ")
        return sent + requests.count(b"POST ")

    async def to_the_end(self) -> bytes:
        """All that comes until the server hangs up."""
        received = b""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while some := await self._loop.sock_recv(self._sock, 65_536):
                    received += some
        return received

    async def until(self, expected: bytes, *, times: int = 1) -> None:
        """Read until this has come so often."""
        received = b""
        async with asyncio.timeout(20):
            while received.count(expected) < times:
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
async def connected(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Peer]:
    with socket.socket() as sock:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        yield Peer(sock)


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send bytes, and return all that comes back until the server hangs up."""
    async with connected(port) as peer:
        for piece in pieces:
            await peer.send(piece)
        return await peer.to_the_end()


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
        assert server.lanes.stored == [b"abc"]


async def test_a_head_of_exactly_the_limit_is_taken_with_whatever_follows_it() -> None:
    async with served(PATIENT) as server:
        for size in (HEAD_LIMIT, HEAD_LIMIT - 1):
            first = of_length(HOOK, size).replace(b"connection: close", b"connection: alive")
            assert len(first) == size
            assert statuses(await talk(server.port, first + of_length(HOOK, HEAD_LIMIT))) == [204, 204]


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
        assert server.lanes.stored == []


async def test_trailers_and_chunk_extensions_that_do_not_end_are_refused() -> None:
    starts = [b"0\r\nx: ", b"0\r\nx: y\r\n", b"5;", b"5\r\nhello\r\n0\r\nx: "]
    async with served(PATIENT) as server:
        for start in starts:
            async with connected(server.port) as peer:
                before = limited("head")
                await peer.send(chunked() + start)
                endless = b"x: y\r\n" if start.endswith(b"\n") else b"y" * 700
                assert statuses(await peer.for_ever(endless)) == [503], start
                assert limited("head") == before + 1
        assert server.lanes.stored == []


async def test_a_body_above_the_limit_on_heads_is_none_of_its_business() -> None:
    body = bytes(range(256)) * 1_000
    pieces = b"".join(b"%x;e=1\r\n%b\r\n" % (size, body[:size]) for size in (1, 5_000, 999, 1_000, 1_001))
    small = b"".join(b"1\r\na\r\n" for _ in range(5_000))
    async with served(PATIENT) as server:
        assert statuses(await talk(server.port, head(HOOK, length=len(body), close=True) + body)) == [204]
        close = chunked().replace(b"host: x", b"connection: close")
        assert statuses(await talk(server.port, close + pieces + b"0\r\ntrailer: x\r\n\r\n")) == [204]
        assert statuses(await talk(server.port, close + small + b"0\r\n\r\n")) == [204]
        expected = [body, b"".join(body[:size] for size in (1, 5_000, 999, 1_000, 1_001)), b"a" * 5_000]
        assert server.lanes.stored == expected
        unread = head(WRONG, length=1_000_000) + b"x" * 1_000_000
        assert statuses(await talk(server.port, unread + head(HOOK, close=True))) == [404, 204]


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
        assert server.lanes.stored == []


async def test_a_head_that_trickles_is_refused_also_on_a_connection_that_was_good_before() -> None:
    for first, expected in ((b"", [503]), (head(HOOK), [204, 503])):
        async with served(IMPATIENT) as server, connected(server.port) as peer:
            await peer.send(first + f"POST {HOOK} HTTP/1.1\r\nx: ".encode())
            assert statuses(await peer.for_ever(b"a", pause_s=0.01)) == expected


async def test_a_connection_that_asks_for_nothing_is_closed_and_not_counted() -> None:
    async with served(IMPATIENT) as server:
        before = limited("slow"), limited("slow", "")
        starts = (b"", b"\r\n", head(HOOK), head(WRONG) + b"\r\n")
        answers = await asyncio.gather(*(talk(server.port, start) for start in starts))
        assert [statuses(answer) for answer in answers] == [[], [], [204], [404]]
        assert (limited("slow"), limited("slow", "")) == before


async def test_empty_lines_do_not_keep_a_connection_open() -> None:
    async with served(IMPATIENT) as server, connected(server.port) as peer:
        await peer.send(head(HOOK))
        assert statuses(await peer.for_ever(b"\r\n", pause_s=0.05)) == [204]


async def test_a_body_that_trickles_does_not_hold_the_connection_whatever_was_answered() -> None:
    async with served(IMPATIENT) as server:
        for path, status in ((HOOK, 503), (WRONG, 404)):
            async with connected(server.port) as peer:
                await peer.send(head(path, length=1_000_000))
                assert statuses(await peer.for_ever(b"a", pause_s=0.01)) == [status]
        await until_true(lambda: not server.server.connections)
        assert server.lanes.stored == []


async def test_a_webhook_that_is_not_durable_in_time_is_answered_503_once() -> None:
    async with served(IMPATIENT) as server, connected(server.port) as peer:
        server.lanes.may_settle = False
        await peer.send(head(HOOK, length=2) + b"{}" + head(HOOK, length=2) + b"{}")
        await peer.until(b" 503 ", times=2)
        server.lanes.settle()
        await peer.send(head(HOOK, close=True))
        assert statuses(await peer.to_the_end()) == [204]


async def test_a_webhook_that_is_refused_is_answered_503_and_the_connection_goes_on() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        server.lanes.may_settle = False
        await peer.send(head(HOOK) + head(HOOK))
        await until_true(lambda: len(server.lanes.taken) == 2)
        server.lanes.taken[1].settle("spooled")
        server.lanes.taken[0].settle(SpoolError("no room"))
        server.lanes.settle()
        await peer.send(head(HOOK, close=True))
        assert statuses(await peer.to_the_end()) == [503, 204, 204]


async def test_a_sender_that_ends_its_side_after_its_request_gets_its_answer() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        server.lanes.may_settle = False
        await peer.send(head(HOOK, length=2) + b"{}")
        await peer.end()
        await until_true(lambda: len(server.lanes.taken) == 1)
        server.lanes.settle()
        assert statuses(await peer.to_the_end()) == [204]


async def test_a_heads_time_begins_with_its_first_byte_and_idleness_with_the_last_answer() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        now = asyncio.get_running_loop().time
        server.lanes.may_settle = False
        await until_true(lambda: len(server.server.connections) == 1)
        (connection,) = server.server.connections
        connected_at = now()
        await peer.send(head(HOOK)[:-1])
        await until_true(lambda: bool(vars(connection)["_url"]))
        connection.check(connected_at + PATIENT.answer_timeout_s)
        await peer.send(head(HOOK)[-1:])
        await until_true(lambda: len(server.lanes.taken) == 1)
        unanswered_at = now()
        server.lanes.settle()
        await peer.until(b" 204 ")
        connection.check(unanswered_at + PATIENT.idle_timeout_s)
        await peer.send(head(HOOK))
        await peer.until(b" 204 ")
        connection.check(now() + PATIENT.idle_timeout_s)
        assert await peer.to_the_end() == b""


async def test_a_sender_that_does_not_read_loses_its_connection_and_is_not_read_either() -> None:
    async with served(IMPATIENT) as server, connected(server.port, receive_buffer=4096) as peer:
        sending = asyncio.create_task(peer.for_ever_unread(head(HOOK) * 100))
        await until_true(lambda: len(server.lanes.taken) > 1_000)
        await until_true(lambda: not server.server.connections)
        sent = await sending
        # What the sockets hold on both sides, and no more, was answered.
        assert len(server.lanes.taken) <= sent


async def test_the_server_ends_though_senders_neither_go_on_nor_read() -> None:
    async with served(IMPATIENT) as server, contextlib.AsyncExitStack() as stack:
        server.lanes.may_settle = False
        for start in (b"", b"POST", head(HOOK), head(HOOK, length=10), head(HOOK) * 5):
            await (await stack.enter_async_context(connected(server.port))).send(start)
        # They stay connected while the server shuts down.
        await until_true(lambda: len(server.lanes.taken) >= 6)
        stack.pop_all()
    assert not server.server.connections


# -- connections ---------------------------------------------------------------------------------------------------
async def test_a_connection_above_the_limit_is_told_so_without_being_read(caplog: pytest.LogCaptureFixture) -> None:
    settings = IngestSettings(connection_limit=2, ack_timeout_s=0.1, answer_timeout_s=0.3)
    async with served(settings) as server, connected(server.port) as first:
        async with connected(server.port):
            await until_true(lambda: len(server.server.connections) == 2)
            before = limited("connections", "")
            for _ in range(5):
                answer = await talk(server.port)
                assert statuses(answer) == [503]
                assert b"connection: close" in answer
            assert limited("connections", "") == before + 5
            assert len(server.server.connections) == 2
            await first.send(head(HOOK))
            await first.until(b"204")
        await until_true(lambda: len(server.server.connections) == 1)
        assert statuses(await talk(server.port, head(HOOK, close=True))) == [204]
        await until_true(lambda: bool(caplog.records))
        # What follows within a minute is counted, and not logged by the sweep that ends the first connection.
        async with connected(server.port):
            await until_true(lambda: len(server.server.connections) == 2)
            assert statuses(await talk(server.port)) == [503]
            await first.send(b"P")
            assert await first.to_the_end() == b""
        assert limited("connections", "") == before + 6
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "ingest.limited")
    assert record.__dict__["limit"] == "connections"
    assert record.__dict__["connections"] in range(1, 6)


async def test_requests_piled_up_on_one_connection_are_read_up_to_a_limit_and_then_as_they_are_answered() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        server.lanes.may_settle = False
        one = head(HOOK, length=1) + b"x"
        await peer.send(one * 1_000 + head(HOOK, close=True))
        in_a_piece = HEAD_LIMIT // len(one) + 1
        await until_true(lambda: len(server.lanes.taken) > PIPELINED)
        assert len(server.lanes.taken) <= PIPELINED + in_a_piece
        server.lanes.settle()
        assert statuses(await peer.to_the_end()) == [204] * 1_001
        assert server.lanes.stored == [b"x"] * 1_000 + [b""]


async def test_a_request_behind_one_that_closes_the_connection_is_not_begun() -> None:
    async with served(PATIENT) as server:
        assert statuses(await talk(server.port, head(HOOK, close=True) + head(HOOK))) == [204]
        await until_true(lambda: not server.server.connections)
    assert len(server.lanes.taken) == 1


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
                # The URL may have been found wrong before the fault came.
                assert statuses(answer) in ([status], [404] if path == WRONG else [status]), name
            errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
            assert not [record for record in errors if record.exc_info], name
            if account:
                assert limited("malformed", account) == before + 2, name
            assert len(errors) == (2 if account else 0), name
        assert server.lanes.stored == []


async def test_what_has_no_url_is_answered_400_or_404_and_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
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
    assert {record.getMessage() for record in caplog.records} <= {"ingest.unknown_url"}


async def test_a_fault_within_a_body_is_answered_once_and_nothing_is_stored() -> None:
    async with served(PATIENT) as server:
        for fault in (b"zz\r\n", b"5\r\nhelloworld\r\n", b"0\r\n\0\r\n"):
            async with connected(server.port) as peer:
                await peer.send(chunked() + b"5\r\nhello\r\n")
                await peer.send(fault)
                assert statuses(await peer.to_the_end()) == [503], fault
        assert server.lanes.stored == []


async def test_a_fault_within_a_body_that_was_answered_already_gets_no_second_answer() -> None:
    async with served(PATIENT) as server, connected(server.port) as peer:
        before = limited("malformed", "")
        await peer.send(chunked(WRONG))
        await peer.until(b" 404 ")
        await peer.send(b"zz\r\n")
        assert statuses(await peer.to_the_end()) == []
        assert limited("malformed", "") == before


async def test_a_fault_behind_a_request_that_waits_does_not_take_its_answer() -> None:
    in_head, in_body = f"POST {HOOK} HTTP/9.9\r\n\r\n".encode(), chunked() + b"zz\r\n"
    async with served(PATIENT) as server:
        # Of rubbish nobody knows whose it is; so close behind a webhook it is taken for one.
        for second, status in ((b"rubbish\r\n\r\n", 503), (in_head, 503), (in_body, 503)):
            server.lanes.taken.clear()
            server.lanes.may_settle = False
            async with connected(server.port) as peer:
                await peer.send(head(HOOK, length=2) + b"{}" + second)
                await until_true(lambda: len(server.lanes.taken) == 1)
                await peer.send(head(HOOK))  # Not read any more.
                server.lanes.settle()
                assert statuses(await peer.to_the_end()) == [204, status], second
            assert server.lanes.stored == [b"{}"]


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


async def test_a_url_with_a_fault_is_known_by_its_account_however_it_arrives() -> None:
    async with served(PATIENT) as server:
        whole = f"POST {HOOK}?\x01 HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        for cut in (0, 3, 5, 20, len(HOOK), len(HOOK) + 6):
            assert statuses(await talk(server.port, whole[:cut], whole[cut:])) == [503], cut
        assert statuses(await talk(server.port, head(HOOK) + whole)) == [204, 503]
        assert statuses(await talk(server.port, *(whole[at : at + 1] for at in range(len(whole))))) == [503]


async def test_a_request_behind_one_that_waits_does_not_keep_it_from_its_503() -> None:
    for second in (chunked() + b"5\r\nhel", chunked() + b"zz\r\n", head(HOOK)[:30]):
        async with served(IMPATIENT) as server:
            server.lanes.may_settle = False
            assert statuses(await talk(server.port, head(HOOK, length=2) + b"{}" + second))[0] == 503
            await until_true(lambda: not server.server.connections)


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
            assert statuses(await talk(server.port, *pieces)) == [204, 204, 204]
            assert server.lanes.stored == [b"one", b"two", b"three"]
            server.lanes.taken.clear()
        encoded = chunked().replace(b"host: x", "\r\n".join(["connection: close, upgrade", offer[1]]).encode())
        assert statuses(await talk(server.port, encoded + b"3\r\nabc\r\n0\r\n\r\n")) == [204]
        before = limited("malformed", "")
        assert statuses(await talk(server.port, encoded + b"3\r\nabc\r\n0\r\n\r\n" + head(HOOK))) == [204]
        assert limited("malformed", "") == before
        assert server.lanes.stored == [b"abc"] * 2
    assert caplog.records == []


async def test_a_thousand_offers_to_upgrade_at_once_are_all_passed_over() -> None:
    async with served(PATIENT) as server:
        offers = head(HOOK, "connection: upgrade", "upgrade: h2c") * 1_000
        assert statuses(await talk(server.port, offers + head(HOOK, close=True))) == [204] * 1_001


# -- all of it -----------------------------------------------------------------------------------------------------
async def test_no_hostile_stream_on_a_valid_url_is_answered_so_that_it_would_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(IMPATIENT) as server:
        report = await fuzz(HOST, server.port, valid_paths=[HOOK], seed=11, requests=1_000)
        assert statuses(await talk(server.port, head(HOOK, length=4, close=True) + b"good")) == [204]
        assert server.lanes.stored[-1] == b"good"
        await until_true(lambda: not server.server.connections)
    assert report.lost == {}
    assert report.garbled == 0
    assert set(report.statuses) <= {204, 400, 404, 405, 413, 431, 503}
    assert not [record for record in caplog.records if record.exc_info or not record.name.startswith("ingest.")]
