"""The simulated ServiceTrade of the sinks section: a process of its own, with accounts that have many jobs."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.environment import ROOT
from bench.live import one_account_per_partition
from bench.stage import Child, child
from bench.workload import account_name

ACCOUNTS = 20
TYPE = "job"
PASSWORD_ENV, PASSWORD = "BENCH_PASSWORD", "opens-all-accounts-of-this-measurement"
DESCRIPTION = "Annual inspection of the sprinkler system, fire pump and extinguishers on all floors. " * 6
"""An entity of some size; a live one may be larger."""
START_S = 30.0
TIMEOUT_S = 60.0
_AT_ONCE = 4
"""Jobs of one account that are made at the same time."""
_POLL_S = 0.05

Entity = tuple[str, int]
"""Account and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A simulator that answers."""

    url: str
    """Without /api."""
    process: Child

    async def furnish(self, counts: Mapping[str, int]) -> dict[str, list[int]]:
        """Make so many jobs in each account, in a session of its own; their ids by account.

        Raises:
            HTTPError: the simulator does not do it.
        """
        made = await asyncio.gather(*(self._make(name, count) for name, count in counts.items()))
        return dict(zip(counts, made, strict=True))

    async def _make(self, account: str, count: int) -> list[int]:
        async with self._client() as http:
            login = {"username": username(account), "password": PASSWORD}
            (await http.post("/api/auth", json=login)).raise_for_status()
            found = await http.get("/api/location", params={"limit": 1})
            body = {"locationId": found.json()["data"]["locations"][0]["id"], "description": DESCRIPTION}
            turns, ids = iter(range(count)), list[int]()

            async def work() -> None:
                for number in turns:
                    answer = await http.post(f"/api/{TYPE}", json={**body, "name": f"Inspection {number}"})
                    answer.raise_for_status()
                    data = answer.json()["data"]
                    ids.append(int(data.get(TYPE, data)["id"]))

            await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return sorted(ids)

    async def reads(self) -> int:
        """How many single jobs were read so far, over all accounts."""
        counted = (await self._told("accounts"))["accounts"]
        return sum(one["requests"].get(f"GET {TYPE}/{{id}}", 0) for one in counted)

    async def jobs(self, accounts: Sequence[str]) -> dict[Entity, Any]:
        """Every job of these accounts, as a GET shows it now."""
        found: dict[Entity, Any] = {}
        for account in accounts:
            entities = (await self._told(f"entities?account={account}"))["entities"]
            for name, entity in entities.items():
                kind, _, number = name.partition("/")
                if kind == TYPE:
                    found[account, int(number)] = entity
        return found

    async def _told(self, path: str) -> dict[str, Any]:
        async with self._client() as http:
            answer = await http.get(f"/_control/{path}")
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT_S, trust_env=False)


def username(account: str) -> str:
    """Who logs in to the account."""
    return f"api@{account}"


def accounts() -> list[str]:
    """Names of accounts: the first ones one for each partition of the raw log, in their order."""
    names = one_account_per_partition()
    others = (name for name in map(account_name, range(100)) if name not in names)
    return [*names, *(next(others) for _ in range(ACCOUNTS - len(names)))]


@contextmanager
def open_office(folder: Path) -> Iterator[Office]:
    """Run the simulator for the length of a block.

    Raises:
        RuntimeError: it does not start.
    """
    command = [sys.executable, "-m", "servicetrade.simulator", "--port", "0"]
    for account in accounts():
        command += ["--account", f"{account}:{username(account)}:{PASSWORD}"]
    with child(command, folder / "simulator.log", env={"PYTHONPATH": str(ROOT)}) as process:
        yield Office(url=_url(process), process=process)


def _url(process: Child) -> str:
    deadline = time.monotonic() + START_S
    while process.running and time.monotonic() < deadline:
        for line in process.log.read_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                return str(json.loads(line)["url"])
        time.sleep(_POLL_S)
    raise RuntimeError(f"the simulator does not start: {process.log.read_text()[-2000:]}")
