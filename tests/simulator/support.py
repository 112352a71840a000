"""What the simulator's tests share: a running simulator, a receiver of webhooks, waiting for a condition."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

from servicetrade.simulator.accounts import AccountSettings
from servicetrade.simulator.sender import SenderRules
from servicetrade.simulator.server import SimulatorSettings, serve

ACCOUNTS = (
    AccountSettings(name="acme", username="acme-api", password="secret-a", user_id=1234),
    AccountSettings(name="bolt", username="bolt-api", password="secret-b"),
    AccountSettings(name="crew", username="crew-api", password="secret-c"),
)
PATIENT = SenderRules(timeout_s=5.0, intervals_s=(0.01, 0.02))


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 20.0) -> None:
    """Wait for the condition; fails the test when the deadline passes."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.02)


@dataclass
class Simulator:
    """A running simulator as a client sees it."""

    url: str
    http: httpx.AsyncClient

    async def try_login(self, account: str = "acme", password: str | None = None) -> httpx.Response:
        """The answer to a login, whatever it is; on a connection and with cookies of its own."""
        async with client(self.url) as http:
            return await http.post("/api/auth", json=_credentials(account, password))

    async def login(self, account: str = "acme") -> dict[str, str]:
        """The headers of a fresh session."""
        answer = await self.http.post("/api/auth", json=_credentials(account))
        assert answer.status_code == 200
        self.http.cookies.clear()
        return {"cookie": f"PHPSESSID={answer.json()['data']['authToken']}"}

    async def status(self, headers: dict[str, str], path: str = "company") -> int:
        """The status of a GET below /api."""
        return (await self.http.get(f"/api/{path}", headers=headers)).status_code

    async def control(self, path: str, body: dict[str, Any] | None = None, *, method: str | None = None) -> Any:
        """On the control plane: GET, or POST with a body, unless another method is named."""
        method = method or ("GET" if body is None else "POST")
        answer = await self.http.request(method, f"/_control/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def fault(self, account: str = "acme", **fields: Any) -> dict[str, Any]:
        """Place one fault on the account; as it is listed, with its `id`."""
        listed = await self.control("faults", {"account": account, "faults": [fields]})
        placed: dict[str, Any] = listed[account][-1]
        return placed

    async def faults(self, account: str = "acme") -> list[dict[str, Any]]:
        """The account's faults, with how many requests each `struck`."""
        found: list[dict[str, Any]] = (await self.control("faults"))[account]
        return found

    async def struck(self, requests: int, account: str = "acme") -> None:
        """Wait until the account's faults have struck so many requests."""

        async def reached() -> bool:
            return sum(int(one["struck"]) for one in await self.faults(account)) == requests

        await until(reached)

    async def clear_faults(self, account: str | None = None, id_: int | None = None) -> int:
        """Clear all faults, or only those of the account or the one with the id; how many went."""
        query = {key: value for key, value in (("account", account), ("id", id_)) if value is not None}
        answer = await self.control(f"faults?{urlencode(query)}", method="DELETE")
        cleared: int = answer["cleared"]
        return cleared

    async def counters(self, account: str = "acme") -> dict[str, Any]:
        """What the control plane tells of the account."""
        accounts = (await self.control("accounts"))["accounts"]
        found: dict[str, Any] = next(one for one in accounts if one["name"] == account)
        return found

    async def reaches(self, account: str = "acme", *, within_s: float = 20.0, **expected: int) -> None:
        """Wait until the account's counters have these values; fails the test when the deadline passes."""

        async def reached() -> bool:
            found = await self.counters(account)
            return all(found[name] == value for name, value in expected.items())

        await until(reached, within_s=within_s)

    async def names(self, type_: str, account: str = "acme") -> list[str]:
        """The names of the account's entities of a type."""
        found = (await self.control(f"entities?account={account}"))["entities"]
        return [entity["name"] for key, entity in found.items() if key.startswith(f"{type_}/")]

    async def subscribe(self, hook_url: str, account: str = "acme", **fields: Any) -> dict[str, Any]:
        """A webhook with changesets for everything, unless fields say otherwise."""
        body = {"hookUrl": hook_url, "includeChangesets": True, "entityEvents": None, **fields}
        answer = await self.http.post("/api/webhook", json=body, headers=await self.login(account))
        assert answer.status_code == 200
        made: dict[str, Any] = answer.json()["data"]
        return made

    async def journal(self, account: str = "acme") -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Totals and messages of the account."""
        found = await self.control(f"journal?account={account}&limit=100000")
        return found["totals"], found["messages"]

    async def settled(self, account: str = "acme") -> list[dict[str, Any]]:
        """The journal's messages, once there are some and none is pending."""

        async def nothing_pending() -> bool:
            totals, _ = await self.journal(account)
            return totals["messages"] > 0 and totals["pending"] == 0

        await until(nothing_pending)
        return (await self.journal(account))[1]


def _credentials(account: str, password: str | None = None) -> dict[str, str]:
    return {"username": f"{account}-api", "password": password or f"secret-{account[0]}"}


def client(url: str) -> httpx.AsyncClient:
    """A client of the simulator."""
    # Plain http: reading the certificates would cost each test more than all the rest.
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=20, verify=False)  # noqa: S501


@contextlib.asynccontextmanager
async def running(rules: SenderRules = PATIENT, *, seed: int = 1) -> AsyncIterator[Simulator]:
    """A simulator on a free port, stopped at the end."""
    stop = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = SimulatorSettings(accounts=ACCOUNTS, sender=rules, seed=seed)
    server = asyncio.create_task(serve(settings, stop, on_listening=listening.set_result))
    async with asyncio.timeout(20):
        url = await listening
    try:
        async with client(url) as http:
            yield Simulator(url, http)
    finally:
        stop.set()
        await server


@dataclass
class Receiver:
    """A receiver of webhooks: keeps every body and answers as it is told.

    `answer` gets the number of the request (from 0) and returns a status, or None for no answer at all.
    """

    answer: Callable[[int], int | None] = lambda _number: 200
    bodies: list[bytes] = field(default_factory=list)
    content_types: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def messages(self) -> list[dict[str, Any]]:
        """The bodies that are JSON."""
        found = []
        for body in self.bodies:
            with contextlib.suppress(ValueError):
                found.append(json.loads(body))
        return found

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                self.paths.append(lines[0].split(" ")[1])
                self.content_types.append(headers["content-type"])
                number = len(self.bodies)
                self.bodies.append(await reader.readexactly(int(headers["content-length"])))
                status = self.answer(number)
                if status is not None:
                    location = "location: /elsewhere\r\n" if status in range(300, 400) else ""
                    writer.write(f"HTTP/1.1 {status} X\r\n{location}content-length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def receiving(answer: Callable[[int], int | None] = lambda _number: 200) -> AsyncIterator[Receiver]:
    """A receiver on a free port, closed at the end."""
    receiver = Receiver(answer=answer)
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
    try:
        yield receiver
    finally:
        server.close()
