"""Worker processes that share a store share its session."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from runtime.settings import StoreSettings
from tests.servicetrade.fake import FakeServiceTrade

pytestmark = pytest.mark.anyio

CALLS = 25


@asynccontextmanager
async def worker(api: FakeServiceTrade, settings: StoreSettings) -> AsyncIterator[Process]:
    arguments = ["-W", "error", "-m", "tests.servicetrade.worker", api.url, settings.url, settings.key.reveal()]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, str(CALLS), stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).strip()


async def go(processes: list[Process]) -> list[bytes]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    return await asyncio.gather(*map(line, processes))


async def test_a_hundred_401s_in_four_processes_are_one_login(
    api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(worker(api, sqlite_settings)) for _ in range(4)]
        assert await asyncio.gather(*map(line, processes)) == [b"ready"] * 4
        assert await go(processes) == [str(CALLS).encode()] * 4
        assert api.logins == 1
        api.kill_sessions()
        assert await go(processes) == [str(CALLS).encode()] * 4
        assert api.logins == 2
        assert api.asked["DELETE /api/auth"] == 0
