"""The proxy holds, slows and cuts connections, and loses no byte of one that lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from runtime.broker_config import HOST, free_port
from tests.chaos.proxy import Proxy

pytestmark = pytest.mark.anyio
DEADLINE_S = 20.0
PAYLOAD = bytes(range(256)) * 4_000


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Proxy, bytearray]]:
    """A proxy before a server that sends back what it gets; and what the server got so far."""
    got = bytearray()
    handlers: list[asyncio.Task[None] | None] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(ConnectionError):
            while chunk := await reader.read(1_000):
                got.extend(chunk)
                writer.write(chunk)
                await writer.drain()
        await closed(writer)

    server = await asyncio.start_server(echo, HOST, 0)
    upstream = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(DEADLINE_S), server:
        async with Proxy(port=free_port(), upstream_port=upstream) as proxy:
            yield proxy, got
        await asyncio.gather(*(handler for handler in handlers if handler is not None))


async def send_all(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    writer.write_eof()


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_every_byte_arrives_in_order_both_ways() -> None:
    async with echoing() as (proxy, got):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        sending = asyncio.create_task(send_all(writer, PAYLOAD))
        assert await reader.read(-1) == PAYLOAD
        await sending
        await closed(writer)
        assert got == PAYLOAD


async def test_a_stalled_connection_carries_nothing_until_it_resumes_and_then_everything() -> None:
    async with echoing() as (proxy, got):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        proxy.stall()
        sending = asyncio.create_task(send_all(writer, PAYLOAD))
        reading = asyncio.create_task(reader.read(-1))
        _, still_waiting = await asyncio.wait([reading], timeout=0.3)
        assert still_waiting
        assert got == b"before"
        proxy.resume()
        assert await reading == PAYLOAD
        await sending
        await closed(writer)


async def test_a_connection_made_in_a_stall_is_served_after_it() -> None:
    async with echoing() as (proxy, _):
        proxy.stall()
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        sending = asyncio.create_task(send_all(writer, b"late"))
        proxy.resume()
        assert await reader.read(-1) == b"late"
        await sending
        await closed(writer)


async def test_a_slow_connection_loses_nothing() -> None:
    async with echoing() as (proxy, got):
        proxy.slow(delay_s=0.005, bytes_per_s=20_000_000)
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        sending = asyncio.create_task(send_all(writer, PAYLOAD))
        assert await reader.read(-1) == PAYLOAD
        await sending
        await closed(writer)
        assert got == PAYLOAD


async def test_a_cut_resets_every_connection_and_lets_new_ones_in() -> None:
    async with echoing() as (proxy, _):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        await closed(writer)
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        await send_all(writer, b"after")
        assert await reader.read(-1) == b"after"
        await closed(writer)


async def test_a_server_that_is_away_closes_the_connection() -> None:
    async with Proxy(port=free_port(), upstream_port=free_port()) as proxy, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        with suppress(ConnectionResetError):
            assert await reader.read(1) == b""
        await closed(writer)
