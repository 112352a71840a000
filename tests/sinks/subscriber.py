"""A subscriber on a real socket: keeps what it is sent, and answers byte by byte as a test wants it."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Say = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, body: str = "", **headers: str) -> bytes:
    """A whole answer; `Retry_After="7"` is a header Retry-After."""
    lines = [f"HTTP/1.1 {status} whatever", f"Content-Length: {len(body.encode())}", "Content-Type: text/plain"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", body)).encode()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """No answer: the connection is closed."""
    writer.close()


@dataclass
class Request:
    """One that arrived whole."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Subscriber:
    """Answers 204 unless `answers` holds something else for the next request."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: deque[Say] = field(default_factory=deque)
    connections: int = 0
    stay_open: bool = True
    """False: a connection is closed after each answer, without a word."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.requests.append(Request(line, headers, body))
                say = self.answers.popleft() if self.answers else answer(204)
                if isinstance(say, bytes):
                    writer.write(say)
                    await writer.drain()
                else:
                    await say(writer)
                if not self.stay_open:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # whoever called has gone
        finally:
            writer.close()


@asynccontextmanager
async def subscriber(tls: ssl.SSLContext | None = None) -> AsyncIterator[Subscriber]:
    """Listens on a free port of 127.0.0.1 for as long as the block lasts."""
    found = Subscriber()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await found.serve(reader, writer)
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    found.port = int(server.sockets[0].getsockname()[1])
    try:
        yield found
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()
