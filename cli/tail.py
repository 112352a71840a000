"""`tradewind tail`: shows changes, deliveries and dead letters as they come, each in a line."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from cli.console import DEFAULT_CONFIG, OK, OUT, Config
from cli.messages import note
from cli.options import read_past
from cli.pipe import nobody_reads
from runtime.settings import Settings, read_settings
from schemas.change import Action
from schemas.delivery import Outcome
from schemas.encoding import encode
from schemas.errors import SettingsError
from schemas.moments import utc_time
from schemas.printable import printable_json
from schemas.record import LogRecord
from schemas.suggestion import did_you_mean
from schemas.topics import CHANGES, DEADLETTERS, DELIVERIES, Topic
from servicetrade.catalogue import BUILT_IN
from views.tail import follow
from views.tail_columns import Columns, Line, View
from views.tail_filter import Wanted, read_id
from views.tail_lines import CHANGES_VIEW, DELIVERIES_VIEW, LETTERS_VIEW

tail_app = App(name="tail", help="Show changes, deliveries or dead letters as they come.")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the three commands have in common."""

    account: Annotated[tuple[str, ...], Parameter(help="Only of this account (repeatable).", negative="")] = ()
    type: Annotated[
        tuple[str, ...], Parameter(help="Only about entities of this type: job (repeatable).", negative="")
    ] = ()
    id: Annotated[
        tuple[str, ...], Parameter(help="Only about the entity of this id: 123, or job/123 (repeatable).", negative="")
    ] = ()
    since: Annotated[
        str | None,
        Parameter(help="Also what came since: 2026-03-01T08:00 (UTC), 2026-03-01, 10min, 2h, 3d. Default: now."),
    ] = None
    follow: Annotated[bool, Parameter(help="Go on with what comes, until Ctrl-C.")] = True
    json: Annotated[bool, Parameter(help="Print each record as a line of JSON.", negative="")] = False


NO_OPTIONS = Options()
Sinks = Annotated[
    tuple[str, ...], Parameter(help="Only at this sink: mirror, forward/NAME, … (repeatable).", negative="")
]


@tail_app.command
def changes(
    *,
    options: Options = NO_OPTIONS,
    action: Annotated[tuple[Action, ...], Parameter(help="Only these (repeatable).", negative="")] = (),
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show what the processors make of the webhooks."""
    return _tail(config, CHANGES, CHANGES_VIEW, options, actions=action)


@tail_app.command
def deliveries(
    *,
    options: Options = NO_OPTIONS,
    sink: Sinks = (),
    outcome: Annotated[tuple[Outcome, ...], Parameter(help="Only these (repeatable).", negative="")] = (),
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show what becomes of the changes at the sinks."""
    return _tail(config, DELIVERIES, DELIVERIES_VIEW, options, sinks=sink, outcomes=outcome)


@tail_app.command
def deadletters(
    *,
    options: Options = NO_OPTIONS,
    sink: Annotated[
        tuple[str, ...],
        Parameter(name=("--sink", "--stage"), help="Only given up by processors, mirror, … (repeatable).", negative=""),
    ] = (),
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show what could not be used or delivered, and what people do about it."""
    return _tail(config, DEADLETTERS, LETTERS_VIEW, options, sinks=sink)


def _tail(
    config: Config,
    topic: Topic,
    view: View,
    options: Options,
    *,
    actions: Collection[str] = (),
    sinks: Collection[str] = (),
    outcomes: Collection[str] = (),
) -> int:
    settings = read_settings(config)
    wanted = Wanted(
        accounts=options.account,
        types=frozenset(one.lower() for one in options.type),
        ids=frozenset(map(read_id, options.id)),
        actions=actions,
        sinks=sinks,
        outcomes=outcomes,
    )
    since_ms = _since(options)
    _doubt(settings, wanted, topic)
    printer = Printer(view, wanted, as_json=options.json)
    try:
        asyncio.run(_run(settings, topic, printer, since_ms=since_ms, go_on=options.follow))
    except KeyboardInterrupt:
        return OK  # there is no other end to it
    return OK


def _since(options: Options) -> int | None:
    if options.since is None:
        if not options.follow:
            raise SettingsError("--no-follow shows what is there already: say from when on, as in --since 1h")
        return None
    return read_past("--since", options.since, time.time_ns() // 1_000_000)


def _doubt(settings: Settings, wanted: Wanted, topic: Topic) -> None:
    """Say what may be mistyped; it may be right all the same: topics hold what the configuration no longer knows."""
    sinks = ["mirror", "command", "forward", "custom", *(["processors"] if topic is DEADLETTERS else [])]
    sinks += [f"forward/{name}" for name in settings.sinks.forward]
    sinks += [f"custom/{name}" for name in settings.sinks.custom]
    types = [*BUILT_IN, *settings.servicetrade.types]
    for what, asked, known in (
        ("account", wanted.accounts, list(settings.accounts)),
        ("sink", wanted.sinks, sinks),
        ("entity type", {*wanted.types, *(kind for kind, _ in wanted.ids if kind)}, types),
    ):
        for name in sorted(set(asked) - set(known)):
            hint = did_you_mean(name, known)
            note(f"no {what} {name!r} is known to the configuration" + (f"; {hint}" if hint else ""))


async def _run(settings: Settings, topic: Topic, printer: Printer, *, since_ms: int | None, go_on: bool) -> None:
    name = settings.kafka.topic_prefix + topic.name
    async with aclosing(follow(settings.kafka, name, since_ms=since_ms, go_on=go_on, told=note)) as batches:
        async for batch in batches:
            if not batch and nobody_reads():  # `| head` would otherwise end with the next line only
                return
            printer.put(batch)


class Printer:
    """Prints records on stdout: on a terminal coloured, cut to its width, with the day in a line of its own.

    Args:
        view: how the topic is shown.
        wanted: which records.
        as_json: as lines of JSON.
    """

    def __init__(self, view: View, wanted: Callable[..., bool], *, as_json: bool) -> None:
        self._view = view
        self._wanted = wanted
        self._as_json = as_json
        self._columns = Columns(view)
        self._day: date | None = None

    def put(self, records: Sequence[LogRecord]) -> None:
        """Print those of the records that are wanted.

        Raises:
            BrokenPipeError: nobody reads stdout any more.
        """
        for record in records:
            try:
                line = self._view.read(record)
            except ValueError as error:
                note(f"{record.topic}[{record.partition}] offset {record.offset} is nothing of ours: {error}")
                continue
            if not self._wanted(line.about):
                continue
            if self._as_json:
                text = encode(line.body).decode()
                sys.stdout.write((printable_json(text) if OUT.is_terminal else text) + "\n")
            elif OUT.is_terminal:
                self._show(record, line)
            else:
                moment = f"{utc_time(record.timestamp):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
                sys.stdout.write("  ".join([moment, *self._columns.padded(line.cells)]).rstrip() + "\n")
        sys.stdout.flush()

    def _show(self, record: LogRecord, line: Line) -> None:
        moment = utc_time(record.timestamp)
        cells = self._columns.padded(line.cells)
        if moment.date() != self._day:
            self._day = moment.date()
            head = self._columns.padded(self._view.columns)
            day = Text(f"{moment:%A %Y-%m-%d, UTC}", "bold")
            OUT.print(day)
            self._line([Text("time      "), *map(Text, head)], style="dim")
        styled = [
            Text(cell, line.style if name == self._view.styled else "")
            for cell, name in zip(cells, self._view.columns, strict=True)
        ]
        self._line([Text(f"{moment:%H:%M:%S.%f}"[:-5], "dim"), *styled])

    def _line(self, cells: Sequence[Text], *, style: str = "") -> None:
        text = Text("  ", style).join(cells)
        text.rstrip()
        OUT.print(text, no_wrap=True, overflow="ellipsis", highlight=False)
