"""A configuration with two accounts of the simulator, and worker processes that run by it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.settings import LoginSettings, StoreSettings
from tests.simulator.support import Simulator

SECRETS = {"acme": "secret-a", "bolt": "secret-b"}
HOOK_SECRET = "hook-7f3a-0123456789"


class Site:
    """A folder with tradewind.toml for a running simulator and a store."""

    def __init__(
        self, folder: Path, simulator: Simulator, store: StoreSettings, *, login: LoginSettings, concurrency: int = 25
    ) -> None:
        self.folder = folder
        self.simulator = simulator
        self.config = folder / "tradewind.toml"
        self.write_secret("store", store.key.reveal())
        self.write_secret("hook", HOOK_SECRET)
        lines = [
            '[kafka]\nbootstrap_servers = "127.0.0.1:1"',
            f'[store]\nurl = "{store.url}"\nkey = {{ file = "store" }}',
            f'[servicetrade]\nbase_url = "{simulator.url}"\nconcurrency = {concurrency}',
            "[servicetrade.login]",
            *(f"{name} = {json.dumps(value)}" for name, value in asdict(login).items()),
        ]
        for account, password in SECRETS.items():
            self.write_secret(account, password)
            lines += [f'[accounts.{account}]\nusername = "{account}-api"', f'password = {{ file = "{account}" }}']
            lines += ['hook_secret = { file = "hook" }']
        self.config.write_text("\n".join(lines) + "\n")

    def write_secret(self, name: str, value: str) -> None:
        (self.folder / name).write_text(value)

    async def entity(self, account: str = "acme") -> str:
        """Type and id of an entity that the account has."""
        entities: dict[str, Any] = (await self.simulator.control(f"entities?account={account}"))["entities"]
        return next(key for key in entities if key.startswith("company/"))

    async def counts(self, account: str = "acme") -> dict[str, Any]:
        """What the simulator counted."""
        found = await self.simulator.control("accounts")
        counts: dict[str, Any] = next(one for one in found["accounts"] if one["name"] == account)
        return counts


class Worker:
    """One process; what it says is kept in `said`, its log included."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def answer(self, *, within_s: float = 60) -> dict[str, Any]:
        """The next answer; log lines before it are passed over."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within_s):
            while line := (await self.process.stdout.readline()).decode():
                self.said.append(line)
                answer: dict[str, Any] = json.loads(line)
                if "event" not in answer:
                    return answer
        raise AssertionError("".join(self.said) or "the worker ended")

    async def order(
        self, calls: int, entity: str, *, account: str = "acme", patient: bool = False, within_s: float = 60
    ) -> dict[str, int]:
        """Make so many calls at once; returns how many came to what."""
        assert self.process.stdin is not None
        order = {"calls": calls, "entity": entity, "account": account, "patient": patient}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self.answer(within_s=within_s)


@asynccontextmanager
async def worker(site: Site) -> AsyncIterator[Worker]:
    """A worker that is ready for orders; killed at the end."""
    command = [sys.executable, "-W", "error", "-m", "tests.servicetrade.worker", str(site.config)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        started = Worker(process)
        assert await started.answer() == {"ready": True}
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
