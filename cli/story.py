"""`tradewind story`: what happened to one entity, from the webhooks that came to what every sink made of them."""

from __future__ import annotations

import asyncio
import gc
import json as json_lines
import sys
import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from cli.console import DEFAULT_CONFIG, FAILED, OK, OUT, Config
from cli.messages import complain, note
from cli.options import read_past, read_time
from cli.progress import progress
from runtime.settings import Settings, read_settings
from schemas.errors import SettingsError
from schemas.printable import printable
from schemas.suggestion import did_you_mean
from servicetrade.catalogue import BUILT_IN
from views.story import StoryReader
from views.story_entity import Entity, read_entity
from views.story_event import Event, Story, Tone
from views.story_lines import KIND, TIME, Line, Lines, absence, heading, summary

POLL_S = 0.5
SLOW_S = 5.0
_COLOURS: dict[Tone, str] = {"plain": "", "good": "green", "bad": "bold red", "quiet": "dim"}


def story(
    entity: Annotated[str, Parameter(help="The entity, type/id: job/123.")],
    /,
    *,
    account: Annotated[str, Parameter(help="The customer account that it belongs to.")],
    since: Annotated[
        str | None,
        Parameter(help="Begin then: 2026-03-01T08:00 (UTC), 2026-03-01, 30min, 2h, 3d (default: all that is left)."),
    ] = None,
    until: Annotated[str | None, Parameter(help="End then (default: now).")] = None,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), help="Go on with what comes.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print each event as a line of JSON.", negative="")] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show the life of ENTITY in the order of time: webhooks, windows, changes, deliveries, dead letters, commands.

    What became of each webhook is worked out by the pipeline's own core, from the raw log. Exit code 1 if there is no
    trace of the entity.
    """
    settings = read_settings(config)
    try:
        wanted = read_entity(entity, account)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    since_ms, until_ms = _times(since, until)
    if follow and until is not None:
        raise SettingsError("--until says when to end, and --follow not to: leave one out")
    # What is loaded by now stays; to look through it again and again takes a quarter of the time that reading does.
    gc.freeze()
    teller = _Teller(settings, wanted, as_lines=json)
    try:
        return asyncio.run(teller.tell(since_ms, until_ms, follow=follow))
    except KeyboardInterrupt:
        if teller.following:
            return OK
        raise


def _times(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    now_ms = time.time_ns() // 1_000_000
    since_ms = None if since is None else read_past("--since", since, now_ms)
    until_ms = None if until is None else read_time("--until", until, now_ms)
    if since_ms is not None and until_ms is not None and until_ms <= since_ms:
        raise SettingsError(f"--until: {until} is not after --since {since}")
    return since_ms, until_ms


class _Teller:
    """Prints the story, and with `follow` what comes after it."""

    def __init__(self, settings: Settings, entity: Entity, *, as_lines: bool) -> None:
        self.following = False
        self._settings = settings
        self._entity = entity
        self._as_lines = as_lines
        self._lines = Lines(OUT.width if OUT.is_terminal else None)

    async def tell(self, since_ms: int | None, until_ms: int | None, *, follow: bool) -> int:
        began = time.monotonic()
        opened = StoryReader.open(self._settings, self._entity, since_ms=since_ms, until_ms=until_ms)
        async with opened as reader:
            with progress("reading", "records") as watch:
                events = await reader.catch_up(watch)
                found = reader.story(events)
                if not found.has_trace:
                    found = reader.story(events, near=await reader.near(list(self._settings.accounts)))
            seconds = time.monotonic() - began
            self._check_account(found)
            if not self._as_lines:
                OUT.print(
                    printable(heading(found, seconds)), style="bold", highlight=False, markup=False, soft_wrap=True
                )
            if found.has_trace or self._as_lines:
                self._print(events)
            if found.has_trace and not self._as_lines:
                self._sum_up(found)
            if not found.has_trace:
                self._say_nothing_is_there(found, seconds)
            if seconds > SLOW_S and since_ms is None:
                note("all of the log was read: --since 24h reads less")
            if follow:
                await self._follow(reader)
        return OK if found.has_trace else FAILED

    async def _follow(self, reader: StoryReader) -> None:
        self.following = True
        note("following; Ctrl-C ends it")
        while True:
            self._print(await reader.catch_up())
            await asyncio.sleep(POLL_S)

    def _print(self, events: Sequence[Event]) -> None:
        if self._as_lines:
            for event in events:
                sys.stdout.write(json_lines.dumps(event.as_json()) + "\n")
            sys.stdout.flush()
            return
        for line in self._lines.of(events):
            OUT.print(_markup(line), highlight=False, soft_wrap=True)

    def _sum_up(self, found: Story) -> None:
        OUT.print()
        for sentence, tone in summary(found):
            OUT.print(printable(sentence), style=_COLOURS[tone], highlight=False, markup=False, soft_wrap=True)

    def _check_account(self, found: Story) -> None:
        known, name = self._settings.accounts, self._entity.account
        if name in known or found.account_seen or found.has_trace:
            return
        hint = did_you_mean(name, known, "configured")
        raise SettingsError(f"the account {name!r} is neither in the configuration nor in the log; {hint}")

    def _say_nothing_is_there(self, found: Story, seconds: float) -> None:
        first, *more = absence(found)
        if self._as_lines:
            note(heading(found, seconds))
        complain(first)
        for sentence in more:
            note(sentence)
        types = BUILT_IN.keys() | self._settings.servicetrade.types.keys()
        if self._entity.type not in types and (hint := did_you_mean(self._entity.type, types)):
            note(f"no type {self._entity.type} is known; {hint.removesuffix('?')}/{self._entity.id}?")


def _markup(line: Line) -> str:
    if not line.kind and not line.text:
        return f"[bold]{line.when}[/]" if line.when else ""
    colour = _COLOURS[line.tone]
    text = escape(line.text)
    shown = f"[{colour}]{text}[/]" if colour else text
    return f"[dim]{line.when:>{TIME}}[/]  [cyan]{line.kind:<{KIND}}[/] {shown}"
