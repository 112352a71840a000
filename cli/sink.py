"""`tradewind sink`: run a sink, see what the sinks have put aside, and let a halted one go on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, TypeVar

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table

from cli.console import DEFAULT_CONFIG, FAILED, LOOPBACK, OK, OUT, Config, Instance, OpsHost, OpsPort
from runtime.database import open_database
from runtime.process import run_process
from runtime.settings import Settings, read_settings
from runtime.store_schema import upgrade
from schemas.errors import SettingsError
from schemas.moments import shown_second
from schemas.printable import printable
from sinks.main import Ops, run_command, run_custom, run_forward, run_mirror
from sinks.sink_desk import SinkDesk, SinkState

sink_app = App(name="sink", help="Run a sink: a worker that acts on every change.")

T = TypeVar("T")


@sink_app.command
def mirror(
    *,
    config: Config = DEFAULT_CONFIG,
    instance: Instance = None,
    ops_port: OpsPort = None,
    ops_host: OpsHost = LOOPBACK,
) -> int:
    """Keep a copy of every changed entity in the SQL store."""
    settings = read_settings(config)
    ops = _ops("mirror", instance, ops_host, ops_port, settings.sinks.mirror.ops_port)
    return _worker(settings, ops, lambda stop: run_mirror(settings, ops, stop))


@sink_app.command
def command(
    *,
    config: Config = DEFAULT_CONFIG,
    instance: Instance = None,
    ops_port: OpsPort = None,
    ops_host: OpsHost = LOOPBACK,
) -> int:
    """Perform on ServiceTrade what servicetrade.commands asks for, and answer on servicetrade.results."""
    settings = read_settings(config)
    ops = _ops("command", instance, ops_host, ops_port, settings.sinks.command.ops_port)
    return _worker(settings, ops, lambda stop: run_command(settings, ops, stop))


@sink_app.command
def forward(
    *subscribers: Annotated[str, Parameter(help="Only these; default: all of [sinks.forward].")],
    config: Config = DEFAULT_CONFIG,
    instance: Instance = None,
    ops_port: OpsPort = None,
    ops_host: OpsHost = LOOPBACK,
) -> int:
    """Send changes to subscribers as signed HTTP requests; each has its own progress."""
    settings = read_settings(config)
    names = subscribers or tuple(settings.sinks.forward)
    if unknown := [name for name in names if name not in settings.sinks.forward]:
        raise SettingsError(f"{config}: there is no [sinks.forward.{unknown[0]}]")
    if not names:
        raise SettingsError(f"{config}: there is no [sinks.forward.NAME], so nobody to forward to")
    ops = _ops("forward", instance, ops_host, ops_port, settings.sinks.forward_ops_port)
    return _worker(settings, ops, lambda stop: run_forward(settings, names, ops, stop))


@sink_app.command
def custom(
    name: Annotated[str, Parameter(help="Of [sinks.custom.NAME].")],
    /,
    *,
    config: Config = DEFAULT_CONFIG,
    instance: Instance = None,
    ops_port: OpsPort = None,
    ops_host: OpsHost = LOOPBACK,
) -> int:
    """Run a sink of your own: the function that [sinks.custom.NAME] names."""
    settings = read_settings(config)
    how = settings.sinks.custom.get(name)
    if how is None:
        raise SettingsError(f"{config}: there is no [sinks.custom.{name}]")
    ops = _ops(f"custom-{name}", instance, ops_host, ops_port, how.ops_port)
    return _worker(settings, ops, lambda stop: run_custom(settings, name, ops, stop))


@sink_app.command
def status(*, config: Config = DEFAULT_CONFIG) -> int:
    """Show what each sink has put aside, its open dead letters, and whether it is halted; exit code 1 if one is."""
    states = _at_desk(config, lambda desk: desk.states())
    table = Table("sink", "state", "account", "put aside", "open dead letters", box=None, pad_edge=False)
    for state in states:
        for row in _rows(state):
            table.add_row(*row)
    OUT.print(table, highlight=False)
    for state in states:
        if state.halted is not None:
            since = shown_second(state.halted.since_ms)
            said = f"{state.sink} is halted since {since} UTC: {escape(printable(state.halted.reason))}"
            OUT.print(said, highlight=False, soft_wrap=True)
            OUT.print(f"once that is dealt with: tradewind sink resume {state.sink}", highlight=False, soft_wrap=True)
    return FAILED if any(state.halted is not None for state in states) else OK


@sink_app.command
def resume(sink: str, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """Let the halted SINK (mirror, command, forward/NAME, custom/NAME) go on, in all its processes."""

    async def let_go(desk: SinkDesk) -> tuple[bool, list[str]]:
        was_halted = await desk.resume(sink)
        full = [
            account
            for state in await desk.states()
            if state.sink == sink
            for account, letters in state.letters.items()
            if letters >= state.letter_cap
        ]
        return was_halted, full

    was_halted, full = _at_desk(config, let_go)
    OUT.print(f"{sink}: {'goes on within seconds' if was_halted else 'was not halted'}", highlight=False)
    if full:
        look = f"tradewind deadletters list --sink {sink}"
        told = f"the next dead letter halts it again: {', '.join(map(repr, full))} at the cap; deal with them: {look}"
        OUT.print(told, highlight=False, markup=False, soft_wrap=True)
    return OK


def _rows(state: SinkState) -> Iterator[tuple[str, ...]]:
    word = "[bold red]halted[/]" if state.halted is not None else "[green]delivers[/]"
    accounts = sorted(state.parked.keys() | state.letters.keys())
    if not accounts:
        yield state.sink, word, "-", "0", "0"
    for number, account in enumerate(accounts):
        head = (state.sink, word) if number == 0 else ("", "")
        letters = state.letters.get(account, 0)
        capped = " (at the cap)" if letters >= state.letter_cap else ""
        yield *head, escape(account or "(none)"), str(state.parked.get(account, 0)), f"{letters}{capped}"


def _ops(what: str, instance: str | None, host: str, port: int | None, configured: int) -> Ops:
    name = instance or f"{what}-{socket.gethostname()}"
    return Ops(instance=name, host=host, port=configured if port is None else port)


def _worker(settings: Settings, ops: Ops, main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    return run_process(ops.instance, settings.log.level, main)


def _at_desk(config: Config, work: Callable[[SinkDesk], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = read_settings(config)
        async with open_database(settings.store, create=False) as database:
            await upgrade(database)
            return await work(SinkDesk(settings, database))

    return asyncio.run(run())
