"""The HTTP connections, against a real server that counts them."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from runtime.http import Connections, http_client
from tests.servicetrade.waiting import until

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Served:
    """What a server has seen."""

    url: str = ""
    connections: int = 0
    closed: int = 0
    lines: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers are given once it is set."""


@asynccontextmanager
async def server() -> AsyncIterator[Served]:
    """Answers `ok`; closes the connection after /bye, and in the middle of its answer to /cut."""
    served = Served()
    served.gate.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            while head := await _head(reader):
                served.lines.append(head.split(b"\r\n", 1)[0].decode())
                await served.gate.wait()
                cut = b"/cut" in head
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"o" if cut else b"ok"))
                await writer.drain()
                if cut or b"/bye" in head:
                    break
        finally:
            served.closed += 1
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        served.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield served


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def test_requests_one_after_the_other_share_one_connection() -> None:
    async with server() as served, http_client(trust_env=False) as http:
        texts = [(await http.get(served.url)).text for _ in range(20)]
    assert texts == ["ok"] * 20
    assert served.connections == 1


async def test_as_many_requests_as_there_are_go_at_the_same_time() -> None:
    async with server() as served, http_client(trust_env=False) as http:
        served.gate.clear()
        asking = [asyncio.create_task(http.get(served.url)) for _ in range(50)]
        await until(lambda: len(served.lines) == len(asking))
        served.gate.set()
        assert {(await one).text for one in asking} == {"ok"}
        assert served.connections == 50
        assert [(await http.get(served.url)).text for _ in range(5)] == ["ok"] * 5
    assert served.connections == 50


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async with server() as served, http_client(trust_env=False) as http:
        assert (await http.get(f"{served.url}/bye")).text == "ok"
        await until(lambda: served.closed == 1)
        assert (await http.get(served.url)).text == "ok"
    assert served.connections == 2


async def test_an_answer_that_is_cut_fails_and_the_next_request_does_not() -> None:
    async with server() as served, http_client(trust_env=False) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"{served.url}/cut")
        assert (await http.get(served.url)).text == "ok"


async def test_a_cancelled_request_leaves_the_others_alone() -> None:
    async with server() as served, http_client(trust_env=False) as http:
        served.gate.clear()
        one, other = (asyncio.create_task(http.get(served.url)) for _ in range(2))
        await until(lambda: len(served.lines) == 2)
        one.cancel()
        await asyncio.wait({one})
        served.gate.set()
        assert one.cancelled()
        assert (await other).text == (await http.get(served.url)).text == "ok"


async def test_what_was_idle_for_too_long_is_closed_when_another_request_ends() -> None:
    transport = Connections(ssl.create_default_context(), keep_idle_s=0.0)
    async with server() as served, httpx.AsyncClient(transport=transport) as http:
        served.gate.clear()
        asking = [asyncio.create_task(http.get(served.url)) for _ in range(10)]
        await until(lambda: len(served.lines) == len(asking))
        served.gate.set()
        await asyncio.gather(*asking)
        await http.get(served.url)
        await until(lambda: served.closed >= len(asking))
        assert len(asking) <= served.closed <= served.connections


async def test_nothing_stays_open_when_the_client_is_closed() -> None:
    async with server() as served:
        async with http_client(trust_env=False) as http:
            await asyncio.gather(*(http.get(served.url) for _ in range(10)))
        await until(lambda: served.closed == served.connections)
        assert served.closed == served.connections > 0


async def test_no_cookie_is_kept() -> None:
    async with http_client(trust_env=False) as http:
        http.cookies.extract_cookies(
            httpx.Response(200, headers={"Set-Cookie": "a=b"}, request=httpx.Request("GET", "http://example.com/"))
        )
        assert not http.cookies


async def test_a_proxy_of_the_environment_is_gone_through() -> None:
    code = "import asyncio, runtime.http\nasync def go():\n async with runtime.http.http_client() as http:\n"
    code += "  print((await http.get('http://servicetrade.invalid/api')).text)\nasyncio.run(go())"
    async with server() as served:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=os.environ | {"HTTP_PROXY": served.url}, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await child.communicate()
    assert told.decode().strip() == "ok"
    assert served.lines == ["GET http://servicetrade.invalid/api HTTP/1.1"]
