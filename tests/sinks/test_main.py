"""The mirror's process as it is wired: from a change on Kafka to a row in the store."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from runtime.database import open_database
from runtime.settings import (
    AccountSettings,
    ServiceTradeSettings,
    Settings,
    StoreSettings,
)
from runtime.sink_settings import MirrorSettings, SinksSettings
from runtime.toml_reader import Secret
from sinks.main import Ops, run_mirror
from sinks.mirror_store import MirrorStore
from tests.servicetrade.fake import FakeServiceTrade
from tests.sinks.support import Topics, change

pytestmark = pytest.mark.anyio


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_change_becomes_a_row_and_a_delivery_and_the_process_tells_its_state(
    topics: Topics, api: FakeServiceTrade, sqlite_settings: StoreSettings
) -> None:
    settings = Settings(
        kafka=topics.settings,
        store=sqlite_settings,
        accounts={
            "acme": AccountSettings(
                username="api", password=Secret("right"), hook_secret=Secret("of-no-use-in-this-test")
            )
        },
        servicetrade=ServiceTradeSettings(base_url=api.url),
        sinks=SinksSettings(mirror=MirrorSettings(group=topics.group, session_timeout_s=6)),
    )
    port, stop = free_port(), asyncio.Event()
    await topics.send(change(1, 7), change(2, 8))
    running = asyncio.create_task(run_mirror(settings, Ops(instance="mirror-1", host="127.0.0.1", port=port), stop))
    await topics.until_all_is_committed()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        ready = await http.get("/readyz")
        metrics = (await http.get("/metrics")).text
    assert (ready.status_code, ready.json()) == (
        200,
        {"started": True, "joined": True, "broker": True, "mirror delivers": True},
    )
    assert 'tradewind_servicetrade_requests_total{account="acme",kind="job",status="200"}' in metrics
    assert 'tradewind_servicetrade_logins_total{account="acme",outcome="made"}' in metrics
    stop.set()
    async with asyncio.timeout(20):
        await running
    assert await topics.deliveries() == [("7", 1, "delivered", ""), ("8", 2, "delivered", "")]
    async with open_database(sqlite_settings) as engine:
        for entity_id in ("7", "8"):
            row = await MirrorStore(engine).read("acme", "job", entity_id)
            assert row is not None
            assert row.data == f'{{"id":{entity_id}}}'
    assert api.logins == 1
