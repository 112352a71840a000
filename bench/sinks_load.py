"""Webhooks at fixed times: which is due when, and the process that posts them, whether or not others are answered."""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TWICE = 0.5
"""Share of the entities that are touched a second time."""
AGAIN_S = (0.1, 0.6)
"""How much later: well inside the quiet period."""
ANSWER_S = 30.0

Touch = tuple[int, int]
"""Account and entity, both counted from 0."""


def planned(accounts: int, *, rate: float, seconds: float, seed: int = 1) -> Iterator[Touch]:
    """What is touched at each tick of `1 / rate` seconds: each entity once or twice, the accounts in turn."""
    chance, again, fresh = random.Random(seed), list[tuple[int, Touch]](), 0
    for tick in range(round(rate * seconds)):
        if again and again[0][0] <= tick:
            yield heapq.heappop(again)[1]
            continue
        touch = (fresh % accounts, fresh // accounts)
        fresh += 1
        if chance.random() < TWICE:
            heapq.heappush(again, (tick + round(chance.uniform(*AGAIN_S) * rate), touch))
        yield touch


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A webhook and when it is due, Unix milliseconds."""

    due_ms: float
    path: str
    body: str


def write_posts(path: Path, posts: list[Post]) -> None:
    """Write what the process reads: a line each, in order of time."""
    path.write_text("".join(f"{one.due_ms}\t{one.path}\t{one.body}\n" for one in posts))


@dataclass(slots=True)
class _Sender:
    host: str
    port: int
    statuses: Counter[str] = field(default_factory=Counter)
    answer_ms: list[float] = field(default_factory=list)
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def post(self, request: bytes, due_ms: float) -> None:
        """Post it on a connection that nobody uses, or a new one."""
        try:
            async with asyncio.timeout(ANSWER_S):
                status = await self._exchange(request)
        except (OSError, EOFError) as error:  # a time-out is an OSError too
            status = type(error).__name__
        self.statuses[status] += 1
        self.answer_ms.append(time.time() * 1000 - due_ms)

    async def _exchange(self, request: bytes) -> str:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self.host, self.port)
        writer.write(request)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        lengths = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
        await reader.readexactly(sum(lengths))
        if "connection: close" in lines:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return lines[0].split()[1]

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def send(host: str, port: int, lines: Iterator[str]) -> dict[str, Any]:
    """Post each line when its time has come.

    Returns:
        Answers by status, how far a post was behind its time at most, and how long after its time it was answered;
        milliseconds.
    """
    sender, latest_ms = _Sender(host, port), 0.0
    async with asyncio.TaskGroup() as tasks:
        for line in lines:
            due, path, body = line.rstrip("\n").split("\t")
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            request = f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
            while (ahead_ms := float(due) - time.time() * 1000) > 0:  # noqa: ASYNC110 - for a time, not an event
                await asyncio.sleep(ahead_ms / 1000)
            latest_ms = max(latest_ms, -ahead_ms)
            tasks.create_task(sender.post(request, float(due)))
    sender.close()
    waits = sorted(sender.answer_ms)
    return {
        "statuses": dict(sender.statuses),
        "latest_ms": round(latest_ms, 1),
        "answer_p50_ms": round(waits[len(waits) // 2], 1),
        "answer_p99_ms": round(waits[len(waits) * 99 // 100], 1),
    }


def main() -> None:
    """Be the load: post, then print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("posts", type=Path)
    given = parser.parse_args()
    with given.posts.open() as lines:
        print(json.dumps(asyncio.run(send(given.host, given.port, lines))))


if __name__ == "__main__":
    main()
