"""The chaos run: edits, poison and faults upstream, dead and slow subscribers, sinks killed; then the verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.sinks_chaos.evidence import Outcome, collect
from tests.sinks_chaos.office import LOCKED, failing, refusing
from tests.sinks_chaos.processes import Say, unlock
from tests.sinks_chaos.stage import Order, Stage
from tests.sinks_chaos.staging import staged
from tests.sinks_chaos.subscribers import Habit

MIRRORS = ("mirror-1", "mirror-2")
FORWARD = "forward-1"
LOCKED_OUT = 2
REFUSALS = (400, 422)
PARKED_DEADLINE_S = 60.0
POLL_S = 0.5


def habits(order: Order) -> tuple[Habit, ...]:
    """The subscribers: two good ones, one that is slow and fails now and then, one that is dead."""
    return (
        Habit(name="all"),
        Habit(name="some", types=("job", "quote", "contact", "dispatchnote"), live_secrets=2),
        Habit(name="slow", delay_s=0.03, fails=0.05),
        Habit(name="dead", dead="refused" if order.quick else "silent"),
    )


async def run_chaos(order: Order, say: Say) -> Outcome:
    """Do one run and judge it."""
    async with staged(order, say, habits=habits(order), locked=LOCKED_OUT) as stage:
        await _poison_and_faults(stage)
        await _disturb(stage)
        settled_s = await stage.settle()
        return await collect(stage, settled_s)


async def _poison_and_faults(stage: Stage) -> None:
    """What ServiceTrade does wrong, from the beginning to the end; the locks are taken back in the middle."""
    refused = []
    for status in REFUSALS:
        desk = stage.rng.choice([one for one in stage.load.desks if one.account not in stage.locked])
        thing = desk.stranger()
        refused.append((desk, thing))
        await stage.office.place(desk.account, [refusing(thing.type, thing.id, status)])
    stage.load.refused = refused
    await stage.office.place(None, failing())
    for account in stage.locked:
        await stage.office.place(account, [LOCKED])


async def _disturb(stage: Stage) -> None:
    """Run the load, and beside it all that goes wrong."""
    order, began = stage.order, time.monotonic()
    for name in MIRRORS:
        stage.sinks.start(name, "sink", "mirror")
    stage.sinks.start(FORWARD, "sink", "forward")
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.load.run())
        group.create_task(_kill_sessions(stage))
        group.create_task(_unlock(stage))
        for name in (*MIRRORS, FORWARD):
            rng = Random(f"{order.seed}/kill/{name}")
            harrying = stage.sinks.harry(name, after_s=order.pace.kill_after_s, rng=rng, until=stage.load.ended)
            group.create_task(harrying)
    took = time.monotonic() - began
    stage.say(f"load ended after {took:.1f} s and {stage.load.done} changes; {stage.sinks.kills} kills")


async def _kill_sessions(stage: Stage) -> None:
    """Now and then, end the session that the next read of an account comes with."""
    locked = set(stage.locked)
    while not stage.load.ended.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(stage.order.pace.session_kill_every_s):
                await stage.load.ended.wait()
                return
        if stage.unlocked.is_set():
            locked.clear()
        account = stage.rng.choice([one.account for one in stage.load.desks if one.account not in locked])
        await stage.office.place(account, [{"on": "resource", "method": "GET", "kill_session": True, "times": 1}])


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the mirror has done while accounts are locked out."""

    parked: dict[str, int]
    """Changes, by account."""
    locked: int
    """Entities read of locked accounts."""
    others: int

    def in_the_middle(self, locked: Sequence[str]) -> bool:
        """Whether the locked accounts are parked, and the others go on."""
        return self.parked.keys() >= set(locked) and self.others > 0


async def _look(stage: Stage) -> _Seen:
    parked = {account: count for (sink, account), count in (await stage.shelf.parked()).items() if sink == "mirror"}
    read = [entity[0] for entity, row in (await stage.shelf.rows()).items() if row.data is not None]
    locked = sum(account in stage.locked for account in read)
    return _Seen(parked, locked, len(read) - locked)


async def _unlock(stage: Stage) -> None:
    """In the middle, once the locked accounts are seen to be parked, let them log in again."""
    await stage.load.half.wait()
    began, seen = time.monotonic(), await _look(stage)
    while not seen.in_the_middle(stage.locked) and time.monotonic() - began < PARKED_DEADLINE_S:
        await asyncio.sleep(POLL_S)
        seen = await _look(stage)
    stage.say(f"unlocking {stage.locked}: {seen.parked} parked, {seen.locked} entities read, {seen.others} of others")
    if not seen.in_the_middle(stage.locked) or seen.locked:
        stage.problems.append(f"locked out, but not parked while the others go on: {seen}")
    for account in stage.locked:
        await stage.office.admit(account)
        if problem := await unlock(stage.site.config, account):
            stage.problems.append(problem)
    stage.unlocked.set()
