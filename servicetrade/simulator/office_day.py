"""Pure: the script of an office day: who does what to which entity, when, and how it is told.

A day is planned whole, before it begins, from a seed and the furnished worlds; planning changes nothing
but the next id. It is written for NOMINAL_S seconds and stretched to the wanted duration; what one user
action says stays within about 300 ms.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from servicetrade.simulator.messages import ODDITIES, Oddity, Script
from servicetrade.simulator.office_jobs import Clump, Office, bulk, hot_job, job_life, side_work
from servicetrade.simulator.world import Op, World

NOMINAL_S = 40.0
LAST_START_S = 22.0
REPEATED = 0.04
REORDERED = 0.04
CLUMP_GAPS_S = (0.02, 0.14)
ODD_BETWEEN_S = (2.0, 36.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySettings:
    """How a day is.

    Args:
        notifications: elements over all accounts, at least; repeats come on top.
        duration_s: seconds from the first to the last message, those held back or repeated aside.
        odd_bodies: deliberately odd messages over all accounts: not JSON, a broken element, an unknown type.
    """

    seed: int = 1
    notifications: int = 2000
    duration_s: float = 40.0
    odd_bodies: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One message of the day: at `at_s` seconds into it the changes happen and the message is due.

    Args:
        unknown_type_id: id of an entity of a type nobody knows, told in this message; None for none.
    """

    at_s: float
    account: str
    ops: tuple[Op, ...]
    script: Script
    unknown_type_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """An account as the planner sees it."""

    account: str
    world: World
    api_user: int


def plan_day(settings: DaySettings, crews: Sequence[Crew], *, day: int = 1) -> list[Planned]:
    """All messages of the day-th day, in the order of sending; the same arguments give the same plan."""
    messages: list[Planned] = []
    # One of each kind to the first account, one of each to the second, and so on.
    odd = [
        (number // len(ODDITIES) % len(crews), ODDITIES[number % len(ODDITIES)])
        for number in range(settings.odd_bodies)
    ]
    for position, crew in enumerate(crews):
        rng = random.Random(f"{settings.seed}:{day}:{crew.account}")  # noqa: S311 - reproducible, not secret
        quota = -(-settings.notifications // len(crews))
        for clump in _clumps(crew, rng, quota):
            messages += _messages(crew.account, clump, rng, settings.duration_s / NOMINAL_S)
        for _, oddity in (one for one in odd if one[0] == position):
            messages.append(_odd(crew, oddity, rng, settings.duration_s / NOMINAL_S))
    return sorted(messages, key=lambda message: message.at_s)


def elements(plan: Sequence[Planned]) -> int:
    """How many notifications the plan makes, repeats not counted."""
    return sum(len(message.ops) + (message.unknown_type_id is not None) for message in plan)


def _clumps(crew: Crew, rng: random.Random, quota: int) -> list[Clump]:
    office = Office(crew.world, rng, crew.api_user)
    clumps = hot_job(office, edits=min(40, quota // 16)) + bulk(office, size=min(25, quota // 20))
    told = sum(len(clump.ops) for clump in clumps)
    while told < quota:
        work = side_work if rng.random() < 0.3 else job_life  # noqa: PLR2004 - the mix of a day
        more = work(office, rng.uniform(0.0, LAST_START_S))
        clumps += more
        told += sum(len(clump.ops) for clump in more)
    return clumps


def _messages(account: str, clump: Clump, rng: random.Random, scale: float) -> list[Planned]:
    """One user action as one to three messages, in order; a batch stays one message."""
    parts = 1 if clump.batch else min(len(clump.ops), rng.randint(1, 3))
    cuts = sorted(rng.sample(range(1, len(clump.ops)), parts - 1)) if parts > 1 else []
    bounds = [0, *cuts, len(clump.ops)]
    at_s = clump.at_s * scale
    messages = []
    for begin, end in itertools.pairwise(bounds):
        messages.append(
            Planned(at_s=at_s, account=account, ops=clump.ops[begin:end], script=_script(rng, min(scale, 1.0)))
        )
        at_s += rng.uniform(*CLUMP_GAPS_S) * min(scale, 1.0)
    return messages


def _script(rng: random.Random, scale: float) -> Script:
    return Script(
        message_id=_message_id(rng),
        hold_s=rng.uniform(0.2, 1.5) * scale if rng.random() < REORDERED else 0.0,
        repeat_after_s=rng.uniform(0.05, 3.0) * scale if rng.random() < REPEATED else None,
    )


def _message_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _odd(crew: Crew, oddity: Oddity, rng: random.Random, scale: float) -> Planned:
    """An odd message carries no change of its own, so that nothing is lost with it."""
    return Planned(
        at_s=rng.uniform(*ODD_BETWEEN_S) * scale,
        account=crew.account,
        ops=(),
        script=Script(message_id=_message_id(rng), oddity=oddity),
        unknown_type_id=crew.world.new_id() if oddity == "unknown_type" else None,
    )
