"""A sink that records, and fails for an account or an entity for as long as a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.change import EntityChange
from schemas.errors import RetryLater, Scope
from schemas.topics import PARTITIONS
from sinks.arrival import Arrival
from sinks.outcome import Outcome
from tests.sinks.support import Recorder, Topics, number_of

Failure = Callable[[], Exception]


def down(scope: Scope = "entity", *, lasting: bool = False) -> Failure:
    """A failure that passes."""
    return lambda: RetryLater("down", scope=scope, lasting=lasting)


@dataclass
class Moody(Recorder):
    """`failing` by account, by key, or by key#number; `gates` by key hold a call back before all else."""

    failing: dict[str, Failure] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    began: list[str] = field(default_factory=list)
    """The key of each call, as it began; of those that a gate holds back too."""

    async def deliver(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome]:
        first = arrivals[0]
        self.began.append(first.key)
        if (gate := self.gates.get(first.key)) is not None:
            await gate.wait()
        names = (f"{first.key}#{number_of(first.item)}", first.key, first.account)
        if failure := next((self.failing[name] for name in names if name in self.failing), None):
            # Recorder has a step for it, so that the call is on its list like any other.
            self.steps[first.item.entity_id] = [failure()]
        return await super().deliver(arrivals)


async def until_parked(topics: Topics, wanted: dict[str, int]) -> None:
    """The table has so many records of each account, and no others."""
    async with asyncio.timeout(30):
        while await parked(topics) != wanted:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


async def parked(topics: Topics) -> dict[str, int]:
    """How many records of each account are in the table."""
    return dict(await topics.stores.parking.counts(range(PARTITIONS)))


async def until_lag(topics: Topics, wanted: int) -> None:
    """So many records of the topic are not committed."""
    async with asyncio.timeout(30):
        while await topics.lag() != wanted:  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.02)
