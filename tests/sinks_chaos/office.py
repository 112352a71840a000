"""The simulated ServiceTrade as a process, and what the harness does there: accounts, edits, faults, counters."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from runtime.parent_death import tied

START_DEADLINE_S = 30.0
TIMEOUT_S = 30.0
FAILING_SHARE = 0.05
_KINDS: tuple[Mapping[str, Any], ...] = (
    {"status": 500},
    {"status": 503},
    {"status": 503, "retry_after": 1},
    {"status": 429},
    {"status": 429, "retry_after": 1},
    {"reset": True},
    {"reset": True, "processed": True},
)
LOCKED: Mapping[str, Any] = {
    "on": "login",
    "status": 403,
    "body": '{"messages": {"error": ["Invalid credentials provided"]}, "data": {"authenticated": false}}',
}


def failing(share: float = FAILING_SHARE) -> list[dict[str, Any]]:
    """Faults that let this share of the reads fail, each kind as often; the harness's own writes are spared."""
    left, faults = 1.0, list[dict[str, Any]]()
    for kind in _KINDS:
        # Each meets only what those before it have spared.
        faults.append({"on": "resource", "method": "GET", "ratio": share / len(_KINDS) / left, **kind})
        left -= share / len(_KINDS)
    return faults


def refusing(entity_type: str, entity_id: str, status: int) -> dict[str, Any]:
    """The fault that every read of one entity is answered with this status."""
    return {"on": "resource", "method": "GET", "path": f"{entity_type}/{entity_id}", "status": status}


@dataclass(slots=True)
class Office:
    """ServiceTrade as the harness sees it: over the API with a session per account, and past it."""

    http: httpx.AsyncClient
    passwords: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Base URL, without /api."""
        return str(self.http.base_url).rstrip("/")

    async def open_account(self, name: str, *, shape: str) -> None:
        """Make an account, and log in to it once."""
        self.passwords[name] = f"opens-{name}-5c07f1"
        names = {"name": name, "username": f"{name}-api", "password": self.passwords[name]}
        await self.control("accounts", names)
        await self.control("switches", {"account": name, "switches": {"shape": shape}})
        login = {key: names[key] for key in ("username", "password")}
        answer = await self.http.post("/api/auth", json=login)
        answer.raise_for_status()
        self.http.cookies.clear()
        self.sessions[name] = f"PHPSESSID={answer.json()['data']['authToken']}"

    async def write(self, account: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """An edit over the API, which must succeed; gives the entity in whatever shape, or None."""
        headers = {"cookie": self.sessions[account]}
        answer = await self.http.request(method, f"/api/{path}", json=body, headers=headers)
        answer.raise_for_status()
        return answer.json()["data"] if answer.content else None

    async def control(self, path: str, body: Mapping[str, Any] | None = None, *, method: str | None = None) -> Any:
        """On the control plane: GET, or POST with a body, unless another method is named."""
        method = method or ("GET" if body is None else "POST")
        answer = await self.http.request(method, f"/_control/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def place(self, account: str | None, faults: Iterable[Mapping[str, Any]]) -> None:
        """Put faults in force on an account, or on all."""
        await self.control("faults", {**({"account": account} if account else {}), "faults": list(faults)})

    async def admit(self, account: str) -> None:
        """Take back the faults that let the account's logins fail."""
        listed: list[dict[str, Any]] = (await self.control("faults"))[account]
        for fault in listed:
            if fault["on"] == "login":
                await self.control(f"faults?account={account}&id={fault['id']}", method="DELETE")

    async def struck(self) -> dict[str, list[dict[str, Any]]]:
        """All faults of all accounts, with how many requests each `struck`."""
        found: dict[str, list[dict[str, Any]]] = await self.control("faults")
        return found

    async def counters(self) -> dict[str, dict[str, Any]]:
        """What the simulator counted, by account."""
        return {one["name"]: one for one in (await self.control("accounts"))["accounts"]}

    async def entities(self, account: str) -> dict[str, Any]:
        """What GETs of the account show now, by `type/id`."""
        found: dict[str, Any] = (await self.control(f"entities?account={account}"))["entities"]
        return found


def reads(counters: Mapping[str, Mapping[str, Any]]) -> int:
    """How many GETs of single entities the accounts got."""
    requests = [(name, count) for one in counters.values() for name, count in one["requests"].items()]
    return sum(count for name, count in requests if name.startswith("GET ") and name.endswith("/{id}"))


@asynccontextmanager
async def running_office(folder: Path, *, seed: int, accounts: Sequence[str]) -> AsyncIterator[Office]:
    """Run the simulator as a process for the length of a block, with these accounts."""
    command = [sys.executable, "-m", "servicetrade.simulator", "--seed", str(seed)]
    with (folder / "servicetrade.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *tied(command, signum=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is the harness's to handle
        )
    try:
        if process.stdout is None:
            raise RuntimeError("the simulator has no stdout")
        async with asyncio.timeout(START_DEADLINE_S):
            url = json.loads(await process.stdout.readline())["url"]
        limits = httpx.Limits(max_connections=40, keepalive_expiry=3.0)
        # Plain http: reading the certificates would be for nothing.
        client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=TIMEOUT_S, verify=False, limits=limits)  # noqa: S501
        async with client as http:
            office = Office(http)
            for number, name in enumerate(accounts):
                await office.open_account(name, shape=("flat", "compound")[number % 2])
            yield office
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
