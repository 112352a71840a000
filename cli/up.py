"""`tradewind up`: the whole pipeline on one machine, from one configuration, supervised."""

from __future__ import annotations

import asyncio
import socket
import tomllib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.console import DEFAULT_CONFIG, OUT, Config
from cli.messages import note
from fleet.lock import alone
from fleet.plan import PROCESSORS, make_plan, tables_in
from fleet.ports import require_free_ports
from fleet.run import Order, run_up
from fleet.voice import Voice
from runtime.broker import PreparedBroker, prepare
from runtime.settings import Settings, read_settings


def up(
    *,
    config: Config = DEFAULT_CONFIG,
    processors: Annotated[int, Parameter(help="How many processes turn webhooks into changes.")] = PROCESSORS,
    only: Annotated[
        tuple[str, ...],
        Parameter(
            help="Only these of broker, ingest, processors, mirror, command, forward and custom-NAME.",
            negative="",
            consume_multiple=True,
        ),
    ] = (),
    log_dir: Annotated[Path, Parameter(help="Gets a log file per process.")] = Path(".tradewind/logs"),
    json_logs: Annotated[
        bool, Parameter(help="Print JSON, with the process in each line, instead of lines for people.", negative="")
    ] = False,
) -> int:
    """Run all that the configuration asks for on this machine: broker, topics, ingest, processors and sinks.

    The embedded broker if there is a [broker] and kafka.bootstrap_servers names it; a sink if it has a table, an empty
    one, too. A process that dies is started again. Ctrl-C or SIGTERM lets all finish what they hold; a second one kills
    them. Exit code 0 if all had finished, 1 if one had to be killed or had failed, 2 if it cannot begin.
    """
    settings = read_settings(config)
    tables = tables_in(tomllib.loads(config.read_text("utf-8")))
    plan = make_plan(settings, tables, processors=processors, only=only)
    with alone(config, log_dir):
        require_free_ports(plan, settings)
        order = Order(
            settings=settings,
            config=config,
            plan=plan,
            broker=_prepared(settings) if plan.broker else None,
            log_dir=log_dir,
            host=socket.gethostname(),
        )
        coloured = OUT.color_system is not None and not OUT.no_color
        voice = Voice(plan.names, coloured=coloured, json_logs=json_logs, log_dir=str(log_dir))
        try:
            return asyncio.run(run_up(order, voice))
        finally:
            voice.close()


def _prepared(settings: Settings) -> PreparedBroker:
    # Before there is an event loop: fetching takes a while, and Ctrl-C shall end it at once.
    return prepare(settings.broker.data_dir, port=settings.broker.port, report=note)
