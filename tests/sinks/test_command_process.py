"""A process of the command sink that is killed while ServiceTrade has its requests, and the one that comes after it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime.settings import StoreSettings
from schemas.command import Command, CommandResult, decode_result
from schemas.encoding import encode
from tests.servicetrade.site import Site
from tests.simulator.support import running, until
from tests.sinks.commanding import QUICK, Office, command

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def working(site: Site) -> AsyncIterator[Process]:
    """A process that performs what is written to it; killed at the end."""
    arguments = [sys.executable, "-W", "error", "-m", "tests.sinks.command_worker", str(site.config)]
    process = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def performed(process: Process, commands: list[Command]) -> dict[str, CommandResult]:
    """What came of the commands, by id."""
    tell(process, commands)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        found = [decode_result(await process.stdout.readline()) for _ in commands]
    return {one.command_id: one for one in found}


def tell(process: Process, commands: list[Command]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(encode(one) + b"\n" for one in commands))


async def test_after_a_kill_no_creation_is_repeated_and_everything_is_settled(
    store_settings: StoreSettings, tmp_path: Path
) -> None:
    async with running() as simulator:
        office = Office(simulator)
        site = Site(tmp_path, simulator, store_settings, login=QUICK)
        company = await office.an_id("company")
        commands = [
            await office.creation(id="blind", name="blind"),
            await office.creation(id="checked", name="checked", checked=True),
            command("PUT", company, {"name": "new"}, entity_type="company", id="update"),
        ]
        for method in ("POST", "PUT"):
            await simulator.fault(on="resource", method=method, hold=True, processed=True)

        async def all_are_held() -> bool:
            return bool((await simulator.counters())["requests_held"] == len(commands))

        async with working(site) as killed:
            tell(killed, commands)
            await until(all_are_held, within_s=60)
            killed.kill()
            await killed.wait()
        await simulator.clear_faults()

        async with working(site) as next_one:
            found = await performed(next_one, commands)
            assert (found["blind"].outcome, found["blind"].attempts) == ("uncertain", 1)
            assert (found["checked"].outcome, found["checked"].checked, found["checked"].attempts) == ("done", True, 1)
            assert (found["update"].outcome, found["update"].attempts) == ("done", 2)
            assert await performed(next_one, commands) == found
        assert (await office.made("blind"), await office.made("checked")) == (1, 1)
