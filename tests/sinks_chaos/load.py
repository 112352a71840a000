"""The load: edits in all accounts at a steady rate, and among them, at moments that the seed chooses, poison."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.sinks_chaos.desk import Desk, Thing

POISON_EVERY = 400
"""About one record in so many is no change at all, and one in twice as many names an entity that cannot be."""
REFUSED_EACH = 3
BUSIEST = 4.0
"""How much more than the quietest accounts the busiest ones have to do."""
MOST_QUEUED = 100
BEHIND_S = 1.0
"""A load that is further behind than this slackens instead of catching up."""
_LIKE_A_CHANGE = (
    b'{"id":"c","sequence":"0001-0000000000000001-00000000","account":"account-00","entity_type":%s,"entity_id":%s,'
    b'"action":"updated","changeset":[],"changeset_complete":true,"users":[null],"first_at":1,"last_at":1,'
    b'"opened_ms":1000,"due_ms":1500,"closed_by":"quiet","notifications":1,"sources":[],"rules_version":"builtin"}'
)
GARBAGE: tuple[bytes, ...] = (
    b"",
    b"{",
    b"not json",
    b"\xff\xfe\x00binary\x80",
    b"null",
    b"[1, 2, 3]",
    b'"a change"',
    b'{"id": "only an id"}',
    b'{"id": "x", "sequence": null, "account": {}, "changeset": 7}',
    b"[" * 5_000,
    _LIKE_A_CHANGE % (b'"job"', b"7"),
    _LIKE_A_CHANGE % (b"null", b'"7"'),
    _LIKE_A_CHANGE % (b'"job"', b'"seven"'),
    _LIKE_A_CHANGE % (b'"job"', b'"%s"' % (b"9" * 25)),
)
ODD_KEYS: tuple[bytes | None, ...] = (None, b"\xff\xfe no UTF-8", b"no slashes", b"/")
Deed = Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Load:
    """Appends at least `changes` changes, at `rate` a second where that is possible."""

    desks: Sequence[Desk]
    changes: int
    rate: float
    rng: Random
    refused: Sequence[tuple[Desk, Thing]] = ()
    """Entities whose reads ServiceTrade refuses for good; their changes are poison to the mirror."""
    half: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when half of them are appended."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_QUEUED))
    _queues: dict[str, asyncio.Queue[Deed | None]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Changes appended so far."""
        return self.desks[0].appender.changes

    async def run(self) -> None:
        """Append them all, and wait until they are acknowledged."""
        self._queues = {desk.account: asyncio.Queue() for desk in self.desks}
        async with asyncio.TaskGroup() as group:
            for desk in self.desks:
                group.create_task(self._work(self._queues[desk.account]))
            await self._hand_out()
            for queue in self._queues.values():
                queue.put_nowait(None)
        await self.desks[0].appender.flush()
        self.half.set()
        self.ended.set()

    async def _hand_out(self) -> None:
        # Some accounts are far busier than others.
        weights = [min(self.rng.paretovariate(1.5), BUSIEST) for _ in self.desks]
        poison = self._poison()
        due = time.monotonic()
        while self.done < self.changes:
            (desk,) = self.rng.choices(self.desks, weights)
            await self._room.acquire()
            self._queues[desk.account].put_nowait(desk.act)
            if poison and self.done >= poison[-1][0]:
                _, desk, deed = poison.pop()
                await self._room.acquire()
                self._queues[desk.account].put_nowait(deed)
            if self.done * 2 >= self.changes:
                self.half.set()
            due = max(due + 1 / self.rate, time.monotonic() - BEHIND_S)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        for _, desk, deed in poison:  # the last ones were due at the very end
            await self._room.acquire()
            self._queues[desk.account].put_nowait(deed)

    async def _work(self, queue: asyncio.Queue[Deed | None]) -> None:
        while (deed := await queue.get()) is not None:
            await deed()
            self._room.release()

    def _poison(self) -> list[tuple[int, Desk, Deed]]:
        """After how many changes who does what, the first at the end."""
        planned: list[tuple[int, Desk, Deed]] = []
        number = max(len(GARBAGE), self.changes // POISON_EVERY)
        for index in range(number):
            desk, value = self.rng.choice(self.desks), GARBAGE[index % len(GARBAGE)]
            planned.append((self._moment(), desk, _garbage(desk, value, None, keyed=True)))
        for key in ODD_KEYS:
            desk = self.rng.choice(self.desks)
            planned.append((self._moment(), desk, _garbage(desk, self.rng.choice(GARBAGE), key, keyed=False)))
        for _ in range(max(3, number // 2)):
            desk = self.rng.choice(self.desks)
            planned.append((self._moment(), desk, desk.impossible))
        for desk, thing in self.refused:
            planned += [(self._moment(), desk, _refused(desk, thing)) for _ in range(REFUSED_EACH)]
        return sorted(planned, key=lambda one: one[0], reverse=True)

    def _moment(self) -> int:
        return self.rng.randrange(self.changes)


def _garbage(desk: Desk, value: bytes, key: bytes | None, *, keyed: bool) -> Deed:
    return lambda: desk.garbage(value, key=key, keyed=keyed)


def _refused(desk: Desk, thing: Thing) -> Deed:
    return lambda: desk.tell(thing, "updated", "refused")
