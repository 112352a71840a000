"""The backlog run: everything is queued before the mirror starts; it reads each entity about once."""

from __future__ import annotations

import asyncio

from tests.sinks_chaos.desk import Desk, Thing
from tests.sinks_chaos.evidence import Outcome, collect
from tests.sinks_chaos.processes import Say
from tests.sinks_chaos.stage import Order
from tests.sinks_chaos.staging import staged

MIRROR = "mirror-1"
KINDS = ("job", "quote", "contact")
MOST_READS = 1.1
"""Per entity."""
EDITED = 0.25
"""Share of the changes behind which there is an edit of their own."""
DELETED = 0.02
"""Share of the entities whose last change is their deletion."""


async def run_backlog(order: Order, say: Say) -> Outcome:
    """Do one run and judge it."""
    async with staged(order, say) as stage:
        entities = order.entities // order.accounts
        changes = order.changes // order.accounts
        async with asyncio.TaskGroup() as group:
            for desk in stage.load.desks:
                group.create_task(queue_up(desk, entities=entities, changes=changes))
        await stage.appender.flush()
        say(f"{stage.appender.changes} changes of {len(stage.appender.ledger.mirrored())} entities are queued")
        stage.sinks.start(MIRROR, "sink", "mirror")
        await stage.sinks.ready(MIRROR)
        settled_s = await stage.settle()
        return await collect(stage, settled_s, most_reads=MOST_READS)


async def queue_up(desk: Desk, *, entities: int, changes: int) -> None:
    """Append so many changes of so many entities in random order, each entity's first its creation."""
    first = [number % entities for number in range(changes)]
    desk.rng.shuffle(first)
    left = {number: first.count(number) for number in range(entities)}
    made: dict[int, Thing] = {}
    for number in first:
        left[number] -= 1
        if number not in made:
            made[number] = await desk.create(desk.rng.choice(KINDS))
        elif not left[number] and desk.rng.random() < DELETED:
            await desk.delete(made[number])
        elif desk.rng.random() < EDITED:
            await desk.edit(made[number])
        else:
            await desk.tell(made[number], "updated")
