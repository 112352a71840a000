"""What is said of a port that nobody can listen on."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from fleet.plan import make_plan
from fleet.ports import require_free_ports
from runtime.settings import IngestSettings
from schemas.errors import SettingsError
from tests.fleet.test_plan import FULL, NOTHING


def refusal(host: str, port: int) -> str:
    settings = replace(FULL, ingest=IngestSettings(host=host, port=port))
    with pytest.raises(SettingsError) as refused:
        require_free_ports(make_plan(settings, NOTHING, only=["ingest"]), settings)
    return str(refused.value)


def test_only_of_a_port_that_is_taken_it_is_told_how_to_see_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        look = f"`ss -ltnp sport = :{port}` shows by whom; else set ingest.host or ingest.port"
        expected = f"ingest cannot listen on 127.0.0.1:{port}: Address already in use; {look}"
        assert refusal("127.0.0.1", port) == expected
    elsewhere = "ingest cannot listen on 192.0.2.1:8080: Cannot assign requested address"
    assert refusal("192.0.2.1", 8080) == f"{elsewhere}; look at ingest.host or ingest.port"
