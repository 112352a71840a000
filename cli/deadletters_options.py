"""What the commands of `tradewind deadletters` share: how letters are named, and the desk."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Parameter

from cli.options import read_time
from runtime.kafka import LogReader
from runtime.settings import Settings
from schemas.errors import SettingsError
from schemas.topics import DEADLETTERS
from sinks.letter_desk import LetterDesk
from sinks.letters import LetterId, Wanted, read_letter_id


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which dead letters are meant."""

    sink: Annotated[
        str | None,
        Parameter(name=("--sink", "--stage"), help="Given up by processors, mirror, command, forward/NAME, …"),
    ] = None
    account: Annotated[str | None, Parameter(help="Of this account.")] = None
    type: Annotated[str | None, Parameter(help="About entities of this type: job.")] = None
    entity: Annotated[str | None, Parameter(help="About this entity: job/123.")] = None
    error: Annotated[str | None, Parameter(help="With this error: not-json, Reject, …")] = None
    since: Annotated[
        str | None, Parameter(help="Last failed then or later: 2026-03-01T08:00 (UTC), 2026-03-01, 2h, 3d.")
    ] = None
    until: Annotated[str | None, Parameter(help="Last failed before.")] = None


NO_FILTERS = Filters()
LetterName = Annotated[str, Parameter(help="PARTITION:OFFSET, as `tradewind deadletters list` shows it.")]


def read_filters(filters: Filters) -> Wanted:
    """Which letters are meant.

    Raises:
        SettingsError: one of the filters says nothing.
    """
    for item in fields(filters):
        if getattr(filters, item.name) == "":
            # An unset variable of a script must not widen what it is about to redrive.
            raise SettingsError(f"--{item.name}: says nothing")
    now_ms = time.time_ns() // 1_000_000
    kind, _, entity_id = (filters.entity or "").partition("/")
    if filters.entity is not None and not (kind and entity_id):
        raise SettingsError(f"--entity: is written type/id, as in job/123; found {filters.entity!r}")
    if filters.entity is not None and filters.type not in (None, kind):
        raise SettingsError("--entity names a type of its own: leave --type out")
    return Wanted(
        stage=filters.sink,
        account=filters.account,
        entity_type=(kind or filters.type or "").lower() or None,  # as changes spell it
        entity_id=entity_id or None,
        error=filters.error,
        since_ms=None if filters.since is None else read_time("--since", filters.since, now_ms),
        until_ms=None if filters.until is None else read_time("--until", filters.until, now_ms),
    )


def read_ids(letters: Sequence[str]) -> list[LetterId]:
    """The letters that were named, in order.

    Raises:
        SettingsError: one is not written PARTITION:OFFSET.
    """
    try:
        return sorted({read_letter_id(one) for one in letters})
    except ValueError as error:
        raise SettingsError(str(error)) from None


def check_limit(limit: int | None) -> None:
    """Refuse a limit that lets nothing through with a SettingsError."""
    if limit is not None and limit < 1:
        raise SettingsError(f"--limit: must be above 0, found {limit}")


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[LetterDesk]:
    """The desk of this configuration's dead letters."""
    async with LogReader.open(settings.kafka, client_id="deadletters") as reader:
        yield LetterDesk(reader, settings.kafka.topic_prefix + DEADLETTERS.name)
