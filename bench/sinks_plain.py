"""The plain loop of the sinks section, what anybody would write first: aiokafka, httpx, one session per account."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3.0)
"""httpx's own but for the last, 5 s: just as long does the simulator keep a connection, so that some would break."""
LINGER_S = 5.0
"""It stays when it has finished, so that one can see what it has used."""


async def work(given: argparse.Namespace) -> dict[str, Any]:
    """Read each changed entity once; when the first and the last answer were there, Unix milliseconds."""
    credentials: dict[str, dict[str, str]] = json.loads(given.accounts.read_text())
    # A client per account: its cookie jar keeps the session.
    clients = {name: httpx.AsyncClient(base_url=given.api, trust_env=False, limits=LIMITS) for name in credentials}
    for name, login in credentials.items():
        (await clients[name].post("/api/auth", json=login)).raise_for_status()
    everybody = asyncio.Semaphore(given.concurrency)
    turns = {name: asyncio.Semaphore(given.account_concurrency) for name in credentials}
    done, failed = list[float](), list[str]()

    async def read(change: dict[str, Any]) -> None:
        account = change["account"]
        async with turns[account], everybody:
            try:
                answer = await clients[account].get(f"/api/{change['entity_type']}/{change['entity_id']}")
                answer.raise_for_status()
                answer.json()
            except httpx.HTTPError as error:
                failed.append(type(error).__name__)
            done.append(time.time() * 1000)

    consumer = AIOKafkaConsumer(
        given.topic, bootstrap_servers=given.servers, group_id=given.group, auto_offset_reset="earliest"
    )
    async with consumer, asyncio.TaskGroup() as tasks:
        left = given.changes
        async for record in consumer:
            tasks.create_task(read(json.loads(record.value)))
            left -= 1
            if not left:
                break
    outcomes = {"answered": len(done) - len(failed), **Counter(failed)}
    return {"outcomes": outcomes, "first_ms": done[0], "last_ms": done[-1]}


async def run(given: argparse.Namespace) -> None:
    """Do the work, and print its figures."""
    print(json.dumps(await work(given)), flush=True)
    await asyncio.sleep(LINGER_S)


def main() -> None:
    """Read so many changes, then end."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("servers", "topic", "group", "api"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--accounts", required=True, type=Path, help="JSON: name to username and password")
    for name in ("changes", "concurrency", "account-concurrency"):
        parser.add_argument(f"--{name}", required=True, type=int)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
