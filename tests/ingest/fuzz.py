"""Hostile HTTP, from a seed: streams of bytes no sender should send, many at a time, and what a receiver says to them.

python -m tests.ingest.fuzz --host 127.0.0.1 --port 8080 --path /webhooks/acme/SECRET --seed 1 --requests 20000
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

AT_ONCE = 64
PATIENCE_S = 0.3
"""How long a sender waits for more of an answer."""
LONGEST_S = 5.0
"""How long a connection lasts at most."""
TOO_LARGE = 4 * 1024 * 1024 + 1

Rng = random.Random
Ending = Literal["wait", "close", "half-close", "reset"]

_METHODS = [
    *("POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI", "SOURCE", "M-SEARCH"),
    "post",
    "PSOT",
    "",
    "é",
]
_VERSIONS = [
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2",
    "HTTP/2.0",
    "HTTP/9.9",
    "HTTP/1.11",
    "http/1.1",
    "RTSP/1.0",
    "",
]
_GAPS = [" ", " ", " ", "  ", "\t", "", "\r\n"]
_HEADERS = [
    "content-length: 2",
    "content-length: 3",
    "content-length: -1",
    "content-length: +2",
    "content-length: 2, 2",
    "content-length: 99999999999999999999",
    "content-length: 18446744073709551615",
    "content-length:",
    "transfer-encoding: chunked",
    "transfer-encoding: gzip",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding:\x0bchunked",
    "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13",
    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk",
    "upgrade: h2c",
    "connection: close",
    "connection: keep-alive, close, close",
    "expect: 100-continue",
    "expect: 200-ok",
    "x: folded\r\n into two",
    "\tx: folded from the start",
    "x\0: y",
    "x: \0",
    "x : y",
    ": no name",
    "no colon",
    "x: bare\nline: feed",
    "x: bare\rreturn",
    "x: \xff\xfe",
    "host: a\r\nhost: b",
    "",
]
_TLS_HELLO = bytes.fromhex("16030100c8010000c403033a5b") + bytes(range(190))
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00"
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LENGTH = re.compile(rb"(?mi)^content-length: *(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzReport:
    """What came of it."""

    connections: int
    requests: int
    statuses: Mapping[int, int]
    """Final answers; one connection may see several."""
    silent: int
    """Connections on which no answer came: the sender had gone, did not finish, or was hung up on."""
    unreachable: int
    """Connections that could not be made."""
    garbled: int
    """Connections on which something came that is no HTTP answer."""
    lost: Mapping[int, int]
    """Answers from 300 to 499, without 413, to a stream that opens with an intact POST line on a valid URL: the sender
    would take the webhook for delivered."""

    def line(self) -> str:
        """The report in one line."""
        statuses = " ".join(f"{status}:{count}" for status, count in sorted(self.statuses.items()))
        lost = " ".join(f"{status}:{count}" for status, count in sorted(self.lost.items())) or "none"
        return (
            f"{self.requests} requests on {self.connections} connections: {statuses}; silent {self.silent}, "
            f"unreachable {self.unreachable}, garbled {self.garbled}, lost {lost}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What one sender does."""

    pieces: Sequence[bytes]
    pause_s: float
    """Between two pieces."""
    ending: Ending
    requests: int
    valid: bool
    """It opens with an intact POST line on a valid URL."""


@dataclass(slots=True)
class _Tally:
    connections: int = 0
    requests: int = 0
    silent: int = 0
    unreachable: int = 0
    garbled: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: Counter[int] = field(default_factory=Counter)

    def add(self, stream: Stream, received: bytes) -> None:
        statuses, garbled = read_answers(received)
        self.connections += 1
        self.requests += stream.requests
        self.statuses.update(statuses)
        self.garbled += garbled
        self.silent += not statuses and not garbled
        if stream.valid and statuses and statuses[0] in range(300, 500) and statuses[0] != 413:
            self.lost[statuses[0]] += 1


def read_answers(received: bytes) -> tuple[list[int], bool]:
    """The final statuses in a stream of answers, and whether there is anything in it that is none."""
    statuses: list[int] = []
    at = 0
    while found := _ANSWER.match(received, at):
        length = _LENGTH.search(found[2])
        status = int(found[1])
        at = found.end() + (int(length[1]) if length and status != 204 else 0)
        if status >= 200:
            statuses.append(status)
    rest = received[at:]
    cut_short = b"HTTP/1.1 ".startswith(rest[:9]) and not _ANSWER.match(rest)
    return statuses, bool(rest) and not cut_short


# -- requests ------------------------------------------------------------------------------------------------------
def _good(rng: Rng, path: str) -> bytes:
    body = rng.randbytes(rng.choice((0, 1, 2, 300, 5_000)))
    close = rng.choice(("", "connection: close\r\n"))
    if rng.random() < 0.5:
        half = rng.randint(0, len(body))
        parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
        return f"POST {path} HTTP/1.1\r\n{close}transfer-encoding: chunked\r\n\r\n".encode() + parts + b"0\r\n\r\n"
    return f"POST {path} HTTP/1.1\r\n{close}content-length: {len(body)}\r\n\r\n".encode() + body


def _odd_request_line(rng: Rng, path: str) -> bytes:
    gaps = rng.choice(_GAPS), rng.choice(_GAPS)
    line = f"{rng.choice(_METHODS)}{gaps[0]}{path}{gaps[1]}{rng.choice(_VERSIONS)}"
    ending = rng.choice(("\r\n\r\n", "\r\n\r\n", "\n\n", "\r\r", "\0", ""))
    return rng.choice((b"", b"", b"\r\n", b" ", b"\0")) + line.encode() + ending.encode()


def _odd_path(rng: Rng, path: str) -> bytes:
    odd: list[bytes] = [
        path.replace("/", "%2F").encode(),
        path.replace("/", "%2f", 2).encode(),
        *(
            path.encode() + tail
            for tail in (b"%00", b"\0", b"/..", b"/../..", b"%", b"%zz", b"%ff", b"#f", b"?", b"//")
        ),
        *(path.encode() + tail for tail in (b"?\xff", "?é☃".encode(), b"\xff\xfe", b"?a b", b"\x7f", b"\\", b"?\x01")),
        path.encode() + b"?" + b"a" * rng.choice((100, 16_000, 20_000, 70_000, 300_000)),
        b"/" + b"a/" * rng.choice((100, 10_000, 40_000)),
        path.upper().encode(),
        path[: rng.randrange(len(path))].encode(),
        b"//" + path.encode(),
        b"/.." + path.encode(),
        *(
            start + path.encode()
            for start in (b"http://h", b"http://u:p@h:80", b"http://h:999999", b"ftp://[::1", b"*")
        ),
        *(b"", b"*", b"http://", b"host:443", b"?", b"#", b"://", b"/\xed\xa0\x80", "/☃".encode()),
    ]
    line = b"%b %b HTTP/1.1\r\n" % (rng.choice((b"POST", b"POST", b"GET", b"OPTIONS", b"CONNECT")), rng.choice(odd))
    return line + rng.choice((b"content-length: 2\r\n\r\n{}", b"\r\n", b"connection: close\r\n\r\n", b""))


def _odd_headers(rng: Rng, path: str) -> bytes:
    lines = rng.sample(_HEADERS, rng.randint(1, 4))
    size = rng.choice((10, 200, 17_000, 100_000))
    match rng.randrange(8):
        case 0:
            lines.append("x: " + "y" * size)
        case 1:
            lines.append("x" * size + ": y")
        case 2:
            lines += [f"x{number}: y" for number in range(size // 10)]
    rng.shuffle(lines)
    body = rng.choice(("{}", "", "{}{}", "2\r\n{}\r\n0\r\n\r\n"))
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", body]).encode("latin-1")


def _odd_chunks(rng: Rng, path: str) -> bytes:
    sizes = [
        "0",
        "1",
        "2",
        "5",
        "fffffff",
        "ffffffffffffffff",
        "10000000000000000",
        "-1",
        "",
        "zz",
        "0x2",
        " 2",
        "2 ",
        "2;a=b",
        "2;" + "e" * 300,
    ]
    ends = ("\r\n", "\r\n", "\n", "\r", "")
    chunks = [
        rng.choice(sizes) + rng.choice(ends) + "ab"[: rng.randint(0, 2)] + rng.choice(ends)
        for _ in range(rng.randint(1, 6))
    ]
    trailers = rng.choice(("", "0\r\n\r\n", "0\r\nx: y\r\n\r\n", "0\r\nx\r\n\r\n", "0\r\n" + "x: y\r\n" * 5_000))
    head = f"POST {path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return (head + "".join(chunks) + trailers).encode()


def _wrong_length(rng: Rng, path: str) -> bytes:
    said, sent = rng.choice(((0, 2), (1, 5), (2, 1), (1_000, 10), (10, 1_000), (2**40, 5), (2**63, 2)))
    expect = rng.choice(("", "", "expect: 100-continue\r\n"))
    return f"POST {path} HTTP/1.1\r\n{expect}content-length: {said}\r\n\r\n".encode() + b"x" * sent


def _not_http(rng: Rng, _: str) -> bytes:
    noise = rng.randbytes(rng.choice((1, 10, 200, 3_000, 100_000)))
    return rng.choice((noise, _TLS_HELLO, _HTTP2_PREFACE, b"\r\n" * rng.choice((1, 10_000)), b"\0" * 100))


def _mutated(rng: Rng, path: str) -> bytes:
    request = bytearray(_good(rng, path))
    for _ in range(rng.randint(1, 5)):
        start = rng.randrange(len(request))
        stop = min(len(request), start + rng.choice((1, 1, 2, 10)))
        match rng.randrange(4):
            case 0:
                request[start:stop] = rng.randbytes(stop - start)
            case 1 if len(request) > stop - start:
                del request[start:stop]
            case 2:
                request[start:start] = rng.choice((b"\r\n", b"\0", b" ", b":", b"\xff", b"\n", b"%"))
            case _:
                request[start:start] = request[start:stop]
    return bytes(request)


def _large(rng: Rng, path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\ncontent-length: {TOO_LARGE}\r\n\r\n".encode() + rng.randbytes(1) * TOO_LARGE


KINDS: Sequence[tuple[Callable[[Rng, str], bytes], int]] = (
    (_good, 20),
    (_odd_request_line, 15),
    (_odd_path, 20),
    (_odd_headers, 25),
    (_odd_chunks, 20),
    (_wrong_length, 10),
    (_not_http, 10),
    (_mutated, 30),
)


def streams(valid_paths: Sequence[str], seed: int) -> Iterator[Stream]:
    """Senders without end, the same for the same seed."""
    rng = random.Random(seed)
    makers, weights = zip(*KINDS, strict=True)
    wrong = ["/", "/webhooks/nobody/guess", f"{valid_paths[0]}x"]
    while True:
        path = rng.choice(valid_paths) if rng.random() < 0.8 else rng.choice(wrong)
        count = rng.choices((1, 2, 3, 40), (70, 15, 10, 2))[0]
        made = [maker(rng, path) for maker in rng.choices(makers, weights, k=count)]
        if rng.random() < 0.003:
            made = [_large(rng, path)]
        whole = b"".join(made)
        if rng.random() < 0.15:
            whole = whole[: rng.randint(0, len(whole))]
        pieces, pause_s = _cut(rng, whole)
        yield Stream(
            pieces=pieces,
            pause_s=pause_s,
            ending=rng.choices(("wait", "close", "half-close", "reset"), (12, 1, 2, 2))[0],
            requests=count,
            valid=any(whole.startswith(f"POST {valid} HTTP/1.1\r\n".encode()) for valid in valid_paths),
        )


def _cut(rng: Rng, whole: bytes) -> tuple[Sequence[bytes], float]:
    """In one piece, in a few, or in dribbles of a byte or two that stop after a while."""
    match rng.randrange(4):
        case 0:
            cuts = sorted(rng.randint(0, len(whole)) for _ in range(rng.randint(1, 5)))
            return [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)], 0.0
        case 1 if rng.random() < 0.3:
            step = rng.randint(1, 20)
            return [whole[start : start + step] for start in range(0, min(len(whole), 60 * step), step)], 0.003
        case _:
            return [whole], 0.0


# -- connections ---------------------------------------------------------------------------------------------------
async def fuzz(host: str, port: int, *, valid_paths: Sequence[str], seed: int, requests: int) -> FuzzReport:
    """Send at least so many requests, good and bad, over many connections at a time, each of which is bounded in time.

    Args:
        host: an address, not a name.
        port: of a receiver.
        valid_paths: URLs that it takes webhooks on.
        seed: the same seed makes the same streams.
        requests: how many, over all connections.
    """
    tally = _Tally()
    source = streams(valid_paths, seed)

    async def send() -> None:
        while tally.requests < requests:
            stream = next(source)
            try:
                received = await _converse(host, port, stream)
            except OSError:
                tally.unreachable += 1
                received = b""
            tally.add(stream, received)

    async with asyncio.TaskGroup() as senders:
        for _ in range(AT_ONCE):
            senders.create_task(send())
    return FuzzReport(
        connections=tally.connections,
        requests=tally.requests,
        statuses=dict(tally.statuses),
        silent=tally.silent,
        unreachable=tally.unreachable,
        garbled=tally.garbled,
        lost=dict(tally.lost),
    )


async def _converse(host: str, port: int, stream: Stream) -> bytes:
    """All that the receiver says.

    Raises:
        OSError: no connection could be made.
    """
    loop = asyncio.get_running_loop()
    received = bytearray()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(LONGEST_S):
            await loop.sock_connect(sock, (host, port))
        try:
            async with asyncio.timeout(LONGEST_S):
                await _send(sock, stream)
                if stream.ending in ("wait", "half-close"):
                    await _receive(sock, received)
        except OSError:  # Reset, a broken pipe, or a time-out.
            _drain(sock, received)
        if stream.ending == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return bytes(received)


async def _send(sock: socket.socket, stream: Stream) -> None:
    loop = asyncio.get_running_loop()
    for piece in stream.pieces:
        await loop.sock_sendall(sock, piece)
        if stream.pause_s:
            await asyncio.sleep(stream.pause_s)
    if stream.ending == "half-close":
        sock.shutdown(socket.SHUT_WR)


async def _receive(sock: socket.socket, received: bytearray) -> None:
    loop = asyncio.get_running_loop()
    while True:
        async with asyncio.timeout(PATIENCE_S):
            some = await loop.sock_recv(sock, 65_536)
        if not some:
            return
        received += some


def _drain(sock: socket.socket, received: bytearray) -> None:
    """What had come before the connection broke."""
    try:
        while some := sock.recv(65_536):
            received += some
    except OSError:
        return


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ingest.fuzz", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", action="append", required=True, help="a valid URL's path; may be given several times")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=20_000)
    given = parser.parse_args(arguments)
    report = asyncio.run(fuzz(given.host, given.port, valid_paths=given.path, seed=given.seed, requests=given.requests))
    sys.stdout.write(report.line() + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
