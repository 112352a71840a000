"""Functions such as users write for custom sinks, good and bad."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from sinks import Context, EntityChange, Reject, RetryLater

seen: list[tuple[EntityChange, Context]] = []


async def note(change: EntityChange, context: Context) -> None:
    seen.append((change, context))
    context.logger.info("noted")


async def meddle(change: EntityChange, _context: Context) -> None:
    change.id, change.sequence, change.account = "another", "9", "another"


async def read(change: EntityChange, context: Context) -> None:
    await context.servicetrade.get(change.entity_type, change.entity_id)


async def call(change: EntityChange, context: Context) -> None:
    answer = await context.http.get(context.options["url"])
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise Reject(f"nobody knows {change.subject}")
    raise RetryLater("later", after_s=7, scope="sink")


async def fail(_change: EntityChange, _context: Context) -> None:
    raise KeyError("not what was meant")


async def fail_for_7(change: EntityChange, _context: Context) -> None:
    if change.entity_id == "7":
        raise KeyError("not what was meant")


async def hang(_change: EntityChange, _context: Context) -> None:
    await asyncio.Event().wait()


async def run_out_of_time_itself(_change: EntityChange, _context: Context) -> None:
    raise TimeoutError("of the function's own")


async def with_a_default(change: EntityChange, context: Context, more: int = 1) -> None:
    pass


async def one_parameter(change: EntityChange) -> None:
    pass


async def three_parameters(change: EntityChange, context: Context, more: int) -> None:
    pass


async def by_name_only(change: EntityChange, *, context: Context) -> None:
    pass


def plain(change: EntityChange, context: Context) -> None:
    pass


NO_FUNCTION = 7
