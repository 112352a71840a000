"""Subscribers of the harness: one HTTP server each, which keeps what it got and answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random

from runtime.broker_config import HOST, free_port
from tests.sinks_chaos.signing import PREFIX, fault_of
from tests.sinks_chaos.verdict import Request

HEAD_LIMIT = 64 * 1024
PATH = "/hooks/changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a subscriber is: what it wants, and how it answers."""

    name: str
    types: tuple[str, ...] = ()
    live_secrets: int = 1
    """Two during a rotation."""
    delay_s: float = 0.0
    """Before each answer."""
    fails: float = 0.0
    """Share of the requests that are answered 500."""
    dead: str = ""
    """`refused`: nobody listens; `silent`: connections are accepted, and nothing is ever answered."""


@dataclass(slots=True, kw_only=True)
class Subscriber:
    """One subscriber and what it got."""

    habit: Habit
    secrets: tuple[str, ...]
    rng: Random
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Requests that are no POST of JSON with a known length."""
    connections: int = 0
    last_at: float = 0.0
    """When the last request was accepted, by the monotonic clock."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where changes are posted to."""
        return f"http://{HOST}:{self.port}{PATH}"

    @property
    def secret(self) -> str:
        """As it is configured."""
        return " ".join(self.secrets)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the other side leaves."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, headers = _parsed(head)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status = await self._answer(line, headers, body)
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # its process was killed, or it closed an idle connection
        finally:
            writer.close()

    async def _answer(self, line: str, headers: dict[str, str], body: bytes) -> int:
        if self.habit.dead:
            await asyncio.Event().wait()
        post = line.split(" ")[:2] == ["POST", PATH] and "content-length" in headers
        if not post or not headers.get("content-type", "").startswith("application/json"):
            self.unreadable.append(f"{line}, {headers.get('content-type')}, {len(body)} bytes")
        if self.habit.delay_s:
            await asyncio.sleep(self.habit.delay_s * self.rng.uniform(0.5, 1.5))
        accepted = self.rng.random() >= self.habit.fails
        self.requests.append(
            Request(
                change_id=headers.get("webhook-id", ""),
                body=hashlib.sha256(body).digest(),
                accepted=accepted,
                fault=fault_of(self.secrets, headers, body, time.time()),
            )
        )
        if accepted:
            self.last_at = time.monotonic()
        return 204 if accepted else 500

    async def close(self) -> None:
        """End what is still connected."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return first, headers


@contextlib.asynccontextmanager
async def subscribing(habits: Sequence[Habit], seed: int) -> AsyncIterator[list[Subscriber]]:
    """Serve subscribers with these habits for the length of a block; one that refuses has a port all the same."""
    found: list[Subscriber] = []
    async with contextlib.AsyncExitStack() as stack:
        for habit in habits:
            rng = Random(f"{seed}/{habit.name}")
            secrets = tuple(PREFIX + base64.b64encode(rng.randbytes(32)).decode() for _ in range(habit.live_secrets))
            one = Subscriber(habit=habit, secrets=secrets, rng=rng)
            found.append(one)
            if habit.dead == "refused":
                one.port = free_port()
                continue
            server = await asyncio.start_server(one.handle, HOST, 0, limit=HEAD_LIMIT)
            one.port = server.sockets[0].getsockname()[1]
            stack.push_async_callback(one.close)
            stack.callback(server.close)
        yield found
