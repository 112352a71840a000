"""The harness's own parts: what its client tells apart, and what it finds in a log of ingest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.broker_config import HOST, free_port
from tests.ingest_chaos.client import Client, get
from tests.ingest_chaos.ingest_log import read_log

pytestmark = pytest.mark.anyio
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nnope"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[tuple[Client, list[int]]]:
    """A server that gives these answers in turn and then hangs up; and how many requests each connection brought."""
    left, connections = list(answers), list[int]()
    finished: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(0)
        finished.append(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
                connections[number] += 1
                if not left:
                    break
                writer.write(left.pop(0))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(handle, HOST, 0) as server:
        client = Client(port=server.sockets[0].getsockname()[1])
        yield client, connections
        await client.close()
        await asyncio.gather(*(task for task in finished if task is not None))


async def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    async with serving(NO_CONTENT, REFUSED, NO_CONTENT) as (client, connections):
        assert [(await client.post("/", b"body")).status for _ in range(3)] == [204, 503, 204]
        assert connections == [3]


async def test_a_connection_that_the_answer_closes_is_not_used_again() -> None:
    closing = NO_CONTENT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serving(closing, NO_CONTENT) as (client, connections):
        assert [(await client.post("/", b"body")).status for _ in range(2)] == [204, 204]
        assert connections == [1, 1]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", b"HTTP/1.1 204 No Content\r\nserver: x\r\n", b"hello\r\n\r\n"])
async def test_half_an_answer_is_none_but_the_request_reached_somebody(answer: bytes) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nbody")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(half, HOST, 0) as server:
        attempt = await Client(port=server.sockets[0].getsockname()[1]).post("/", b"body")
    assert (attempt.status, attempt.reached, attempt.timed_out) == (None, True, False)


async def test_nobody_listening_is_told_from_an_answer_that_is_missing() -> None:
    attempt = await Client(port=free_port()).post("/", b"body")
    assert (attempt.status, attempt.reached, attempt.timed_out) == (None, False, False)
    assert await get(free_port(), "/readyz") == (0, b"")


def test_a_log_is_searched_for_secrets_tracebacks_and_crashes(tmp_path: Path) -> None:
    def line(level: str, event: str, **more: str) -> str:
        return json.dumps({"level": level, "event": event, **more})

    path = tmp_path / "ingest.log"
    written = [
        line("info", "process.started"),
        line("warning", "ingest.refused", reason="full"),
        line("warning", "ingest.refused", reason="full"),
        line("error", "process.crashed", traceback="Traceback (most recent call last):\n ..."),
        line("debug", "asked for /webhooks/acme/hook-1234"),
        "Traceback (most recent call last):",
        '{"level": "in',
    ]
    path.write_text("\n".join(written))
    told = read_log(path, ["hook-1234", "other"])
    assert (told.crashed, told.tracebacks, told.secrets, told.not_json) == (1, 2, 1, 2)
    assert told.events == {"warning: ingest.refused": 2, "error: process.crashed": 1}
    assert told.errors == [written[3]]
    assert told.tail == written


def test_no_log_is_nothing_bad(tmp_path: Path) -> None:
    told = read_log(tmp_path / "none", ["secret"])
    assert (told.crashed, told.tracebacks, told.secrets, told.tail) == (0, 0, 0, [])
