"""What a run acts on, and the wait for the sinks to have done everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from runtime.settings import KafkaSettings
from tests.sinks_chaos.appender import Appender
from tests.sinks_chaos.load import Load
from tests.sinks_chaos.looking import GROUPS, Shelf, lag
from tests.sinks_chaos.office import Office
from tests.sinks_chaos.processes import Say, Sinks
from tests.sinks_chaos.site import FULL, QUICK, Pace, Site
from tests.sinks_chaos.subscribers import Subscriber

POLL_S = 0.5
SAY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run, in which folder."""

    seed: int
    store: str
    """`sqlite` or `postgres`."""
    changes: int
    accounts: int
    entities: int
    """Of the backlog."""
    rate: float
    """Changes per second."""
    quick: bool
    folder: Path

    @property
    def pace(self) -> Pace:
        """How patient everything is."""
        return QUICK if self.quick else FULL


@dataclass(slots=True, kw_only=True)
class Stage:
    """One run; `problems` are what is wrong besides the verdicts."""

    order: Order
    kafka: KafkaSettings
    office: Office
    site: Site
    shelf: Shelf
    appender: Appender
    load: Load
    sinks: Sinks
    subscribers: Sequence[Subscriber]
    locked: Sequence[str]
    """Accounts that cannot log in before the middle of the load."""
    rng: Random
    say: Say
    before: Mapping[str, Mapping[str, Any]]
    """The simulator's counters before any sink was started."""
    problems: list[str] = field(default_factory=list)
    unlocked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def live(self) -> list[Subscriber]:
        """The subscribers that answer."""
        return [one for one in self.subscribers if not one.habit.dead]

    @property
    def groups(self) -> list[str]:
        """The consumer groups that must come to the end of the topic."""
        return [f"{GROUPS}mirror", *(f"{GROUPS}forward-{one.habit.name}" for one in self.live)]

    async def settle(self) -> float | None:
        """Wait until nothing is behind and nothing is parked; gives the seconds, None if it took too long."""
        began = said = time.monotonic()
        while time.monotonic() - began < self.order.pace.unsettled_s:
            behind = {group: count for group in self.groups if (count := await lag(self.kafka, group))}
            parked = await self.shelf.parked()
            if not behind and not parked:
                self.say(f"settled after {time.monotonic() - began:.1f} s")
                return time.monotonic() - began
            if time.monotonic() - said > SAY_S:
                said = time.monotonic()
                self.say(f"behind {behind or 'nowhere'}, parked {parked or 'nothing'}")
            await asyncio.sleep(POLL_S)
        self.problems.append(f"did not settle: behind {behind or 'nowhere'}, parked {parked or 'nothing'}")
        return None
