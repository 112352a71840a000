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
from tests.ingest.running import HOST, LIMIT, free_port, read_all

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
        sys.executable, "-m", "runtime.cli", "ingest", "--config", str(config), stdout=-1, stderr=-1
    )
    try:
        yield process, port, ops_port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answering(http: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(40):
        while True:
            try:
                if (await http.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


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
