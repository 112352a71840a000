"""All checks, those that do not need each other at the same time, and their findings in a steady order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from doctor.configuration import read
from doctor.finding import BROKER, GROUPS, INGEST, SERVICETRADE, STORE, SUBSCRIPTIONS, TOPICS, Finding
from doctor.ingest import check_ingest
from doctor.kafka import check_kafka
from doctor.patience import Patience
from doctor.servicetrade import check_servicetrade, not_checked
from doctor.store import checked_store
from runtime.settings import Settings

Tell = Callable[[Finding], None]
Part = Callable[[Tell], Awaitable[None]]

_OTHERS = (BROKER, TOPICS, GROUPS, STORE, SERVICETRADE, SUBSCRIPTIONS, INGEST)


async def examine(config: Path, tell: Tell, *, login: bool, patience: Patience | None = None) -> bool:
    """Check everything; nothing is changed but for a login, which the whole fleet shares.

    Args:
        config: the configuration file.
        tell: gets each finding as soon as it and all before it are known.
        login: False: log nobody in.
        patience: how long to wait for what does not answer; None: half a minute in all.

    Returns:
        whether the configuration could be read.
    """
    settings, found = read(config)
    for finding in found:
        tell(finding)
    if settings is None:
        for check in _OTHERS:
            tell(check.not_checked("all", "the configuration cannot be read"))
        return False
    await _in_order(_parts(settings, patience or Patience(), login=login), tell)
    return True


def _parts(settings: Settings, patience: Patience, *, login: bool) -> list[Part]:
    async def kafka(tell: Tell) -> None:
        await check_kafka(settings, tell, patience)

    async def store(tell: Tell) -> None:
        async with checked_store(settings, tell, patience) as (sessions, why):
            if sessions is None:
                not_checked(why, tell)
            else:
                await check_servicetrade(settings, sessions, tell, patience, login=login)

    async def ingest(tell: Tell) -> None:
        for finding in await check_ingest(settings):
            tell(finding)

    return [kafka, store, ingest]


async def _in_order(parts: Sequence[Part], tell: Tell) -> None:
    """Run all parts at once, and tell what the first finds as it comes, then what the second has found, and so on."""
    queues = [asyncio.Queue[Finding | None]() for _ in parts]

    async def run(part: Part, queue: asyncio.Queue[Finding | None]) -> None:
        try:
            await part(queue.put_nowait)
        finally:
            queue.put_nowait(None)

    tasks = [asyncio.create_task(run(part, queue)) for part, queue in zip(parts, queues, strict=True)]
    try:
        for task, queue in zip(tasks, queues, strict=True):
            while (finding := await queue.get()) is not None:
                tell(finding)
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
