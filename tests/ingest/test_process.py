"""The ingest process as an operator starts it: it serves, tells no secrets, and ends cleanly."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.topics import WEBHOOKS
from tests.ingest.running import ACME, HOST, LIMIT, free_port, read_all, until

pytestmark = pytest.mark.anyio

CONFIG = """
[kafka]
bootstrap_servers = "{servers}"
topic_prefix = "{prefix}"

[store]
url = "sqlite+aiosqlite:///unused.db"
key = {{ file = "key" }}

[accounts.acme]
username = "user"
password = {{ file = "password" }}
hook_secret = {{ file = "hook_secret" }}

[ingest]
port = {port}
ops_port = {ops_port}
spool = {{ folder = "spool" }}

[log]
level = "debug"
"""
SECRETS = {"hook_secret": "winter-7f3a-0123456 summer-91bc-0123456", "password": "pass-55d0", "key": "key-8e21"}


@asynccontextmanager
async def ingest_process(
    folder: Path, kafka: KafkaSettings
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, int]]:
    port, ops_port = free_port(), free_port()
    for name, value in SECRETS.items():
        (folder / name).write_text(value)
    config = folder / "tradewind.toml"
    config.write_text(
        CONFIG.format(servers=kafka.bootstrap_servers, prefix=kafka.topic_prefix, port=port, ops_port=ops_port)
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", "ingest", "--config", str(config), stdout=-1, stderr=-1
    )
    try:
        yield process, port, ops_port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def answering(http: httpx.AsyncClient, url: str) -> None:
    async def answers() -> bool:
        try:
            return (await http.get(url)).status_code == 200
        except httpx.TransportError:
            return False

    await until(answers)


async def test_the_process_stores_webhooks_and_neither_its_output_nor_its_metrics_tell_a_secret(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    await ensure_topics(kafka, [WEBHOOKS])
    async with (
        ingest_process(tmp_path, kafka) as (process, port, ops_port),
        httpx.AsyncClient(timeout=20) as http,
    ):
        await answering(http, f"http://{HOST}:{ops_port}/readyz")
        url = f"http://{HOST}:{port}/webhooks/acme"
        posted = [
            (await http.post(f"{url}/winter-7f3a-0123456", content=b"one")).status_code,
            (await http.post(f"{url}/summer-91bc-0123456/", content=b"two")).status_code,
            (await http.post(f"{url}/winter-7f3a-0123456-and-more", content=b"no")).status_code,
            (await http.post(f"{url}/winter-7f3a-0123456", content=b"x" * (LIMIT + 1))).status_code,
            (await http.get(f"{url}/winter-7f3a-0123456")).status_code,
        ]
        assert posted == [204, 204, 404, 413, 405]
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"POST /webhooks/acme/winter-7f3a-0123456 HTTP/9.9\r\nbroken\r\n\r\n")
        await reader.read()
        writer.close()
        metrics = (await http.get(f"http://{HOST}:{ops_port}/metrics")).text
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
        assert process.returncode == 0, out
    assert [record.value for record in await read_all(kafka, WEBHOOKS.name)] == [b"one", b"two"]
    assert 'tradewind_webhooks_received_total{account="acme",outcome="stored"} 2.0' in metrics
    assert b"process.stopped" in out
    told = out.decode() + err.decode() + metrics
    assert not [secret for value in SECRETS.values() for secret in value.split() if secret in told]


async def test_a_process_without_a_broker_takes_webhooks_and_says_so_and_the_next_one_appends_them(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    nowhere = KafkaSettings(bootstrap_servers=f"{HOST}:1", topic_prefix=kafka.topic_prefix)
    posted = [f"body {number}".encode() for number in range(20)]
    async with (
        ingest_process(tmp_path, nowhere) as (process, port, ops_port),
        httpx.AsyncClient(timeout=20) as http,
    ):
        await answering(http, f"http://{HOST}:{ops_port}/readyz")
        ready = await http.get(f"http://{HOST}:{ops_port}/readyz")
        assert ready.json() == {"started": True, "accepting": True, "broker": False}
        for body in posted[:10]:
            assert (await http.post(f"http://{HOST}:{port}{ACME}", content=body)).status_code == 204
        metrics = (await http.get(f"http://{HOST}:{ops_port}/metrics")).text
        assert "tradewind_spool_webhooks 10.0" in metrics
        assert "tradewind_spool_bytes 60.0" in metrics
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
        assert process.returncode == 0, out
    await ensure_topics(kafka, [WEBHOOKS])
    async with (
        ingest_process(tmp_path, kafka) as (process, port, ops_port),
        httpx.AsyncClient(timeout=20) as http,
    ):
        await answering(http, f"http://{HOST}:{ops_port}/readyz")
        for body in posted[10:]:
            assert (await http.post(f"http://{HOST}:{port}{ACME}", content=body)).status_code == 204

        async def drained() -> bool:
            told = (await http.get(f"http://{HOST}:{ops_port}/metrics")).text
            return "tradewind_spool_webhooks 0.0" in told

        await until(drained)
    assert [record.value for record in await read_all(kafka, WEBHOOKS.name)] == posted


async def test_a_secret_that_is_written_into_its_file_is_taken_without_a_restart(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    await ensure_topics(kafka, [WEBHOOKS])
    async with (
        ingest_process(tmp_path, kafka) as (_, port, ops_port),
        httpx.AsyncClient(timeout=20) as http,
    ):
        await answering(http, f"http://{HOST}:{ops_port}/readyz")
        url = f"http://{HOST}:{port}/webhooks/acme"

        async def answers(secret: str, status: int) -> None:
            async def answered() -> bool:
                return (await http.post(f"{url}/{secret}", content=b"x")).status_code == status

            await until(answered)

        await answers("autumn-5555-0123456", 404)
        (tmp_path / "hook_secret").write_text("summer-91bc-0123456 autumn-5555-0123456")
        await answers("autumn-5555-0123456", 204)
        await answers("winter-7f3a-0123456", 404)
        assert (await http.post(f"{url}/summer-91bc-0123456", content=b"x")).status_code == 204
