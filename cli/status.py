"""`tradewind status`: the whole pipeline on one screen, once or refreshed."""

from __future__ import annotations

import asyncio
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable
from typing import Annotated

from cyclopts import Parameter
from rich.live import Live

from cli.console import DEFAULT_CONFIG, FAILED, OK, OUT, Config
from cli.status_screen import drawn
from fleet.plan import tables_in
from runtime.settings import read_settings
from schemas.encoding import encode
from schemas.errors import SettingsError
from schemas.printable import printable_json
from views.status import Status
from views.status_attention import attention
from views.status_data import Overview
from views.status_ops import configured_targets, read_targets


def status(
    *,
    watch: Annotated[bool, Parameter(help="Refresh it until Ctrl-C.", negative="")] = False,
    every_s: Annotated[float, Parameter(help="With --watch: seconds from one look to the next.")] = 2.0,
    ops: Annotated[
        tuple[str, ...],
        Parameter(
            help="HOST:PORT of a process's /readyz and /metrics (repeatable), instead of the configured ports, and "
            "those of `tradewind up`, on this machine. A name with several addresses, as of a service with several "
            "containers, is a process at each.",
            negative="",
        ),
    ] = (),
    json: Annotated[
        bool, Parameter(help="Print all of it as JSON; with --watch a line each time.", negative="")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show how the whole pipeline is: lag, spool, open windows, what is put aside, sessions, dead letters.

    Reads only. Exit code 1 if something wants a person, or cannot be read.
    """
    if every_s <= 0:
        raise SettingsError(f"--every-s: must be above 0, found {every_s:g}")
    settings = read_settings(config)
    tables = tables_in(tomllib.loads(config.read_text("utf-8")))
    looker = Status(settings, read_targets(ops) if ops else configured_targets(settings, tables))

    try:
        if watch:
            return asyncio.run(_watch(looker.look, every_s, as_json=json))
        overview = asyncio.run(looker.look())
        _print(overview, as_json=json)
        return FAILED if attention(overview) else OK
    except KeyboardInterrupt:
        if not watch:
            raise
    except BrokenPipeError:
        # Whoever read it has enough. Python would complain once more, flushing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


async def _watch(look: Callable[[], Awaitable[Overview]], every_s: float, *, as_json: bool) -> int:
    """Look again and again, until cancelled."""
    if as_json or not OUT.is_terminal:
        while True:
            _print(await look(), as_json=as_json)
            await asyncio.sleep(every_s)
    with Live(console=OUT, screen=True, auto_refresh=False) as live:
        while True:
            live.update(drawn(await look()), refresh=True)
            await asyncio.sleep(every_s)


def _print(overview: Overview, *, as_json: bool) -> None:
    if as_json:
        text = encode({"attention": attention(overview), "overview": overview}).decode()
        sys.stdout.write((printable_json(text) if OUT.is_terminal else text) + "\n")
        sys.stdout.flush()
    else:
        OUT.print(drawn(overview), highlight=False)
