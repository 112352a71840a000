"""A store whose URL asks for TLS is not spoken to without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import StoreError

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"
REQUEST_FOR_TLS = bytes.fromhex("00000008 04d2162f")
"""PostgreSQL's SSLRequest: its length, and 80877103."""


@asynccontextmanager
async def server_without_tls() -> AsyncIterator[tuple[int, list[bytes]]]:
    """What a PostgreSQL without TLS answers to the question for it; its port, and what it was told after that."""
    told: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(REQUEST_FOR_TLS)) == REQUEST_FOR_TLS
        writer.write(b"N")
        told.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], told


async def test_a_server_without_tls_is_told_neither_user_nor_password_if_the_url_requires_it() -> None:
    async with server_without_tls() as (port, told):
        url = f"postgresql+asyncpg://somebody@{HOST}:{port}/tradewind?ssl=require"
        settings = StoreSettings(url=url, password=Secret("hush"), key=Secret("of-no-use"))
        with pytest.raises(StoreError, match="rejected SSL upgrade"):
            async with open_database(settings):
                pass
        async with asyncio.timeout(20):
            while not told:  # noqa: ASYNC110 - the other side of a socket sets no event
                await asyncio.sleep(0.01)
    assert set(told) == {b""}
