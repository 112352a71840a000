"""The steady load: it knows what it sends and what was acknowledged, and nothing of what must come out."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from runtime.kafka import Headers, KafkaError, Producer, acknowledged
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, ELEMENTS_HEADER, WEBHOOKS
from tests.chaos.messages import GOOD_ELEMENT_LISTS, Message, Writer

PARTITIONS = 4
CROWD = {"acme": 0, "jade": 0, "dune": 2, "fern": 2, "bolt": 3, "crew": 3}
"""The accounts that always speak, and their partitions: given here, so that no partitioner matters."""
SILENT = "iris"
BUILTIN = "fern"
"""Never gets rules."""
ACCOUNTS = {**CROWD, SILENT: 1}
"""The silent account is alone on its partition, which falls silent with it, but for a little garbage."""
HOT = (("acme", 70_001), ("dune", 70_002), ("bolt", 70_003), ("crew", 70_004))
HOT_EVERY_S = 0.35
CROWD_RATE, GARBAGE_RATE = 4.2, 1.5
FLUSH_DEADLINE_S = 60.0


@dataclass(slots=True)
class Load:
    """Actors that send over one producer; `silence` holds all of them at once."""

    producer: Producer
    seed: int
    sent: int = 0
    ambiguous: int = 0
    kept: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """What was acknowledged, by partition and offset."""
    _speaking: asyncio.Event = field(default_factory=asyncio.Event)
    _again: list[tuple[float, int, Message]] = field(default_factory=list)
    _pending: set[asyncio.Future[Any]] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Send until cancelled."""
        self._speaking.set()
        async with asyncio.TaskGroup() as actors:
            for account in CROWD:
                actors.create_task(self._crowd(account, self._writer(account)))
            for account, entity_id in HOT:
                actors.create_task(self._hot(account, entity_id, self._writer(f"hot-{account}")))
            actors.create_task(self._bursts(self._writer("burst")))
            actors.create_task(self._garbage(self._writer("garbage")))
            actors.create_task(self._rules(self._writer("rules")))
            actors.create_task(self._repeats())
            actors.create_task(self._silences(Random(f"{self.seed}/silence")))

    async def flush(self) -> None:
        """Wait until everything sent is acknowledged or has failed."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=FLUSH_DEADLINE_S)

    def _writer(self, name: str) -> Writer:
        return Writer(Random(f"{self.seed}/{name}"), name)

    async def _send(self, key: bytes, value: bytes, headers: Headers = ()) -> None:
        await self._speaking.wait()
        self.sent += 1
        partition = ACCOUNTS.get(key.decode("ascii", "replace"), len(value) % PARTITIONS)
        try:
            future = await self.producer.send(
                WEBHOOKS.name, key=key or None, value=value, headers=headers, partition=partition
            )
        except KafkaError:
            self.ambiguous += 1
            return
        task = asyncio.create_task(self._look_at(future, value))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _look_at(self, future: asyncio.Future[Any], value: bytes) -> None:
        try:
            position = await acknowledged(future)
        except KafkaError:
            self.ambiguous += 1
        else:
            self.kept[position.partition.number, position.offset] = value

    async def _post(self, account: str, value: bytes, rng: Random, headers: Headers = ()) -> None:
        """Send a body, and perhaps plan to send it again: at once, inside the horizon, past it."""
        message = (account.encode(), value, headers)
        await self._send(*message)
        roll = rng.random()
        if roll < 0.02:
            self._plan(rng.uniform(0, 0.5), message)
        elif roll < 0.08:
            self._plan(rng.uniform(3, 10), message)
        elif roll < 0.14:
            self._plan(rng.uniform(20, 26), message)
        elif roll < 0.16:  # inside the horizon of the first, then of the second only, then of neither
            for delay_s in (8, 20, 40):
                self._plan(delay_s, message)

    def _plan(self, delay_s: float, message: Message) -> None:
        heapq.heappush(self._again, (time.monotonic() + delay_s, next(self._numbers), message))

    async def _repeats(self) -> None:
        while True:
            while self._again and self._again[0][0] <= time.monotonic():
                _, _, message = heapq.heappop(self._again)
                await self._send(*message)
            await asyncio.sleep(0.05)

    async def _crowd(self, account: str, writer: Writer) -> None:
        rng = writer.rng
        while True:
            await asyncio.sleep(rng.expovariate(CROWD_RATE))
            now_s, roll = int(time.time()), rng.random()
            elements = [writer.element(now_s) for _ in range(rng.choice([1, 1, 2, 3, 4]))]
            headers: Headers = ()
            if roll < 0.03:
                elements = writer.pair(now_s)
            elif roll < 0.06:
                elements.insert(rng.randint(0, len(elements)), writer.bad_element(now_s))
            elif roll < 0.08:
                headers = ((ELEMENTS_HEADER, rng.choice(GOOD_ELEMENT_LISTS)),)
            elif roll < 0.085:
                elements = [writer.element(now_s) for _ in range(60)]
            await self._post(account, writer.body(elements, now_s), rng, headers)

    async def _hot(self, account: str, entity_id: int, writer: Writer) -> None:
        while True:
            await asyncio.sleep(HOT_EVERY_S * writer.rng.uniform(0.6, 1.4))
            now_s = int(time.time())
            element = writer.element(now_s, kind="job", entity_id=entity_id, action="updated")
            await self._post(account, writer.body([element], now_s), writer.rng)

    async def _bursts(self, writer: Writer) -> None:
        """Let the silent account speak for a moment."""
        while True:
            for _ in range(writer.rng.randint(5, 30)):
                now_s = int(time.time())
                await self._post(SILENT, writer.body([writer.element(now_s)], now_s), writer.rng)
                await asyncio.sleep(0.08)
            await asyncio.sleep(writer.rng.uniform(6, 12))

    async def _garbage(self, writer: Writer) -> None:
        while True:
            await asyncio.sleep(writer.rng.expovariate(GARBAGE_RATE))
            key, value, headers = writer.garbage(writer.rng.choice(list(ACCOUNTS)).encode(), int(time.time()))
            await self._send(key, value, headers)

    async def _rules(self, writer: Writer) -> None:
        """Give every account but one rules at once, and then change them under load, one account at a time."""
        ruled = [account for account in ACCOUNTS if account != BUILTIN]
        for account in ruled:
            await self._send(account.encode(), writer.rules(), ((CONTROL_HEADER, CONTROL_RULES),))
        while True:
            await asyncio.sleep(writer.rng.uniform(3, 7))
            account = writer.rng.choice(ruled)
            await self._send(account.encode(), writer.rules(), ((CONTROL_HEADER, CONTROL_RULES),))

    async def _silences(self, rng: Random) -> None:
        while True:
            await asyncio.sleep(rng.uniform(17, 24))
            self._speaking.clear()
            await asyncio.sleep(rng.uniform(3.5, 6))
            self._speaking.set()
