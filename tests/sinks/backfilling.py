"""A site with the simulator's accounts, and `tradewind mirror` in this process or in one of its own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cli.mirror import mirror_app
from runtime.database import Database, open_database
from runtime.settings import LoginSettings, Settings, read_settings
from runtime.store_schema import upgrade
from schemas.encoding import decode
from servicetrade.client import ServiceTradeClient, open_client
from servicetrade.session_store import SessionStore
from sinks.mirror_store import MirrorStore
from tests.servicetrade.site import Site
from tests.simulator.support import Simulator, until

QUICK = LoginSettings(answer_timeout_s=1, lease_s=3, interval_s=0, longest_pause_s=1)

RUN = "from cli.mirror import mirror_app; mirror_app()"


def in_a_thread(site: Site, *arguments: str) -> int:
    """`tradewind mirror backfill --account acme ...`; its exit code."""
    code = mirror_app([*command(site, *arguments)], result_action="return_value")
    assert isinstance(code, int)
    return code


def command(site: Site, *arguments: str) -> list[str]:
    account = () if "--account" in arguments else ("--account", "acme")
    return ["backfill", *account, "--config", str(site.config), *arguments]


@asynccontextmanager
async def started(site: Site, *arguments: str) -> AsyncIterator[Process]:
    """The command as a process; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", RUN, *command(site, *arguments), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def opened(site: Site) -> AsyncIterator[tuple[Database, ServiceTradeClient, Settings]]:
    """The site's store and client, as a live mirror has them."""
    settings = read_settings(site.config)
    async with open_database(settings.store) as engine:
        await upgrade(engine)
        sessions = SessionStore(engine, settings.store.key)
        async with open_client(settings.servicetrade, settings.accounts, sessions) as client:
            yield engine, client, settings


async def mirrored(site: Site) -> dict[str, Any]:
    """The rows of acme that are not deleted, by type/id."""
    async with opened(site) as (engine, _, _):
        return {
            f"{row.entity_type}/{row.entity_id}": decode(row.data.encode())
            for row in await MirrorStore(engine).rows()
            if row.deleted_at is None
        }


async def entities(simulator: Simulator, *types: str) -> dict[str, Any]:
    """What acme has of these types now, by type/id."""
    found = (await simulator.control("entities?account=acme"))["entities"]
    return {key: entity for key, entity in found.items() if key.split("/")[0] in types}


async def held(simulator: Simulator) -> None:
    """Wait until a request of acme's is held."""

    async def one() -> bool:
        return bool((await simulator.counters())["requests_held"] == 1)

    await until(one, within_s=60)  # a process has to start first


async def hold_after(simulator: Simulator, requests: int, path: str) -> None:
    """The account's requests for this path stand still after so many of them."""
    if requests:
        await simulator.fault(on="resource", method="GET", path=path, times=requests)
    await simulator.fault(on="resource", method="GET", path=path, hold=True)
