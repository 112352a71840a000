"""What the commands of `tradewind deadletters` share: how letters are named, the desk, and how it is talked about."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.console import ERR
from runtime.kafka import LogReader
from runtime.settings import Settings
from schemas.deadletter import PROCESSORS
from schemas.errors import SettingsError
from schemas.topics import CHANGES, COMMANDS, DEADLETTERS, WEBHOOKS
from sinks.letter_desk import LetterDesk
from sinks.letter_view import printable, read_moment
from sinks.letters import LetterId, Wanted, read_letter_id
from sinks.redrive import Routes


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
        str | None, Parameter(help="Last failed then or later: 2026-03-01T08:00 (local time), or 2h, 3d ago.")
    ] = None
    until: Annotated[str | None, Parameter(help="Last failed before.")] = None


NO_FILTERS = Filters()


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
        since_ms=_moment("--since", filters.since, now_ms),
        until_ms=_moment("--until", filters.until, now_ms),
    )


def _moment(name: str, text: str | None, now_ms: int) -> int | None:
    try:
        return None if text is None else read_moment(text, now_ms)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


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


def routes_of(settings: Settings) -> Routes:
    """Who takes redriven letters by this configuration."""
    sinks, prefix = settings.sinks, settings.kafka.topic_prefix
    changes = ("mirror", *(f"forward/{name}" for name in sinks.forward), *(f"custom/{name}" for name in sinks.custom))
    topics = {PROCESSORS: WEBHOOKS.name, "command": COMMANDS.name, **dict.fromkeys(changes, CHANGES.name)}
    return Routes(topics={stage: prefix + name for stage, name in topics.items()})


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[LetterDesk]:
    """The desk of this configuration's dead letters."""
    async with LogReader.open(settings.kafka, client_id="deadletters") as reader:
        yield LetterDesk(reader, settings.kafka.topic_prefix + DEADLETTERS.name)


@contextmanager
def progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for as long as the block lasts, on a terminal."""
    columns = (TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def note(sentence: str) -> None:
    """Say something that is no part of what was asked for."""
    ERR.print(sentence, highlight=False, markup=False, soft_wrap=True)


def complain(sentence: str) -> None:
    """Say why something cannot be done."""
    ERR.print(f"[bold red]tradewind:[/] {escape(printable(sentence))}", highlight=False, soft_wrap=True)
