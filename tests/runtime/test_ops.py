"""The operator's endpoints over a real socket."""

from __future__ import annotations

import socket
import time

import httpx
import pytest
import uvicorn

from runtime.metrics import REGISTRY
from runtime.ops import Status, ops_server, serving

pytestmark = pytest.mark.anyio

HOST = "127.0.0.1"


async def test_alive_ready_and_metrics_are_answered_and_readiness_follows_its_conditions() -> None:
    conditions = {"broker": True, "restored": False}
    async with (
        ops_server(HOST, 0, lambda: conditions) as port,
        httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as http,
    ):
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"broker": True, "restored": False})
        assert 'tradewind_ready{condition="restored"} 0.0' in (await http.get("/metrics")).text
        conditions["restored"] = True
        assert (await http.get("/readyz")).status_code == 200
        metrics = await http.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "# TYPE tradewind_changes_total counter" in metrics.text
        assert 'tradewind_ready{condition="restored"} 1.0' in metrics.text
        assert (await http.get("/elsewhere")).status_code == 404
        assert (await http.post("/livez")).status_code == 405


@pytest.mark.parametrize("joined", [(True, False), (False, True)])
def test_a_condition_of_several_sources_holds_only_if_it_does_for_all_of_them(joined: tuple[bool, bool]) -> None:
    status = Status()
    assert status() == {"started": False}
    first, second = joined
    status.watch(lambda: {"joined": first}, lambda: {"joined": second}, lambda: {"broker": True})
    assert status() == {"started": True, "joined": False, "broker": True}
    status.watch(lambda: {"joined": True}, lambda: {"joined": True})
    assert status() == {"started": True, "joined": True}


async def test_every_start_of_a_process_is_told_by_its_time() -> None:
    before = time.time()
    async with ops_server(HOST, 0, dict):
        began = REGISTRY.get_sample_value("tradewind_start_time_seconds")
        assert began is not None
        assert before <= began <= time.time()


async def test_a_port_that_is_taken_is_an_exception_and_not_an_exit() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with ops_server(HOST, taken.getsockname()[1], dict):
                pass


async def test_a_connection_is_accepted_as_soon_as_the_port_is_known() -> None:
    async def app(_: object, __: object, ___: object) -> None:
        pass

    async with serving(uvicorn.Config(app, host=HOST, port=0, log_config=None, lifespan="off")) as port:
        with socket.create_connection((HOST, port), timeout=5):
            pass
