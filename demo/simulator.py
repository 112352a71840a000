"""The demo's side of the simulator's control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx

from demo.stage import DemoAccount
from schemas.errors import SupervisorError

PAGE = 1000


class Control:
    """What the demo asks of the simulated ServiceTrade, past its API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @classmethod
    @asynccontextmanager
    async def open(cls, base_url: str) -> AsyncIterator[Control]:
        """Connect for as long as the block lasts."""
        async with httpx.AsyncClient(base_url=f"{base_url}/_control", timeout=30, trust_env=False) as http:
            yield cls(http)

    async def add_account(self, account: DemoAccount) -> None:
        """Make a customer account and furnish it."""
        names = ("name", "username", "password", "user_id")
        await self._call("POST", "/accounts", json={name: getattr(account, name) for name in names})

    async def start_day(self, *, notifications: int, duration_s: float) -> None:
        """Begin the scripted office day."""
        await self._call("POST", "/day", json={"notifications": notifications, "duration_s": duration_s})

    async def day(self) -> dict[str, Any]:
        """How far the day is: sent, delivered, pending, refused_for_good, done."""
        return await self._get("/day")

    async def accounts(self) -> list[dict[str, Any]]:
        """Counters of each account: logins, live_sessions, requests."""
        found: list[dict[str, Any]] = (await self._get("/accounts"))["accounts"]
        return found

    async def journal(self, account: str) -> list[dict[str, Any]]:
        """What the sender did with each message of the account."""
        messages: list[dict[str, Any]] = []
        while True:
            page = (await self._get("/journal", account=account, offset=len(messages), limit=PAGE))["messages"]
            messages += page
            if len(page) < PAGE:
                return messages

    async def entities(self, account: str) -> dict[str, Any]:
        """The account's present entities, and the names of those that ever changed."""
        return await self._get("/entities", account=account)

    async def _get(self, path: str, **query: str | int) -> dict[str, Any]:
        return await self._call("GET", path, params=query)

    async def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **request)
        except httpx.TransportError as error:
            # It keeps its world in memory: a new one would not know what the old one sent.
            raise SupervisorError("the simulated ServiceTrade is gone; only it knows what it sent") from error
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise SupervisorError(f"{response.url.copy_with(path='/')} is no simulated ServiceTrade")
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer
