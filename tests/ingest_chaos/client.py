"""A small HTTP client that tells apart: no connection, no answer, and no answer in time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.broker_config import HOST
from tests.ingest_chaos.verdict import SENDER_TIMEOUT_S, Attempt

_NO_CONTENT = 204
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class BadAnswer(Exception):
    """What came back is no HTTP."""


@dataclass(slots=True, kw_only=True)
class Client:
    """Posts to one port on loopback, and keeps connections for the next request."""

    port: int
    _idle: list[Streams] = field(default_factory=list)

    async def post(self, path: str, body: bytes) -> Attempt:
        """One request, given up after the time that ServiceTrade waits; never raises for what the other side does."""
        began = time.monotonic()
        status, reached, timed_out = None, False, False
        streams: Streams | None = None
        try:
            async with asyncio.timeout(SENDER_TIMEOUT_S):
                streams = self._kept() or await asyncio.open_connection(HOST, self.port)
                reached = True
                status, stays = await _exchange(streams, path, body)
            if stays:
                self._idle.append(streams)
                streams = None
        except TimeoutError:
            timed_out = True
        except (OSError, EOFError, BadAnswer):
            pass
        finally:
            if streams is not None:
                streams[1].transport.abort()
        return Attempt(began=began, ended=time.monotonic(), status=status, reached=reached, timed_out=timed_out)

    def _kept(self) -> Streams | None:
        """A connection that is idle, and that the other side has not closed as far as is known."""
        while self._idle:
            streams = self._idle.pop()
            if not streams[0].at_eof() and streams[0].exception() is None:
                return streams
            streams[1].transport.abort()
        return None

    async def close(self) -> None:
        """Close what is idle."""
        for _, writer in self._idle:
            writer.close()
        for _, writer in self._idle:
            with suppress(OSError):
                await writer.wait_closed()
        self._idle.clear()


async def get(port: int, path: str, *, timeout_s: float = 3.0) -> tuple[int, bytes]:
    """Status and body of a GET on loopback; status 0 where there is no answer within `timeout_s` seconds."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode())
            status, _, _ = await _head(reader)
            return status, await reader.read()
    except (TimeoutError, OSError, EOFError, BadAnswer):
        return 0, b""
    finally:
        if writer is not None:
            writer.transport.abort()


async def _exchange(streams: Streams, path: str, body: bytes) -> tuple[int, bool]:
    """Send a request and read its answer whole; gives the status, and whether the connection can be used again."""
    reader, writer = streams
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    status, length, stays = await _head(reader)
    if length is None and status != _NO_CONTENT:
        return status, False
    await reader.readexactly(length or 0)
    return status, stays


async def _head(reader: asyncio.StreamReader) -> tuple[int, int | None, bool]:
    """Status, length of the body if it is told, and whether the connection stays open."""
    words = (await reader.readline()).split()
    if not words:
        raise EOFError
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise BadAnswer(words)
    length, stays = None, True
    while (line := await reader.readline()).strip():
        name, _, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip().lower()
        if name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"connection" and value == b"close":
            stays = False
    if not line:
        raise EOFError
    return int(words[1]), length, stays
