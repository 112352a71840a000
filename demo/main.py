"""The demo itself: start everything, let an office day pass, wait until it is accounted for, say what became of it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from demo.evidence import count_topic, gather
from demo.ledger import Ledger, account_for
from demo.screen import Figures, Screen
from demo.simulator import Control
from demo.site import MIRROR, PROCESSORS, RULES, Site, make_site
from processors.rules_apply import apply_rules
from processors.rules_file import read_rules_file
from runtime.broker import answers, prepare
from runtime.database import Database, open_database
from runtime.kafka import KafkaError, LogReader
from runtime.supervisor import ProcessEvent, ProcessSpec, Supervisor
from runtime.topics import ensure_topics
from schemas.topics import CHANGES, DELIVERIES, WEBHOOKS
from servicetrade.client import ServiceTradeClient
from servicetrade.session_store import SessionStore

SETTLE_S = 90.0
"""How long the pipeline may take after the day to account for everything: windows close, retries end."""
READY_S = 60.0


async def run_demo(folder: Path, *, keep: bool, notifications: int, duration_s: float, out: Console) -> int:
    """Run the demo in `folder`.

    Returns:
        0 if every notification that was answered with 2xx is accounted for, else 1; 130 after Ctrl-C.

    Raises:
        TradewindError: something could not be started.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    demo = asyncio.ensure_future(_demo(folder, keep=keep, day=(notifications, duration_s), out=out, stop=stop))
    interrupted = asyncio.ensure_future(stop.wait())
    await asyncio.wait({demo, interrupted}, return_when=asyncio.FIRST_COMPLETED)
    if not demo.done() and not keep:
        demo.cancel()
    interrupted.cancel()
    try:
        return await demo
    except asyncio.CancelledError:
        out.print("stopped")
        return 130


async def _demo(folder: Path, *, keep: bool, day: tuple[int, float], out: Console, stop: asyncio.Event) -> int:
    screen = Screen(out)
    site = make_site(folder)
    # In this thread: the broker's jars are fetched here, with progress; the supervised process finds them there.
    prepare(site.settings.broker.data_dir, port=site.settings.broker.port, report=screen.say)
    async with AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(
            Supervisor(log_dir=site.folder / "logs", on_event=lambda event: _show(screen, event))
        )
        names = await _start(supervisor, site, screen)
        control = await stack.enter_async_context(Control.open(site.simulator_url))
        store = await stack.enter_async_context(open_database(site.settings.store))
        reader = await stack.enter_async_context(LogReader.open(site.settings.kafka, client_id="demo"))
        await _subscribe(site, store)
        screen.say(f"logs in {site.folder / 'logs'}; kill whatever you like and watch")
        await control.start_day(notifications=day[0], duration_s=day[1])
        await _pass_the_day(screen, site, control, reader)
        ledger = await _settle(site, control, reader, store)
        restarts = {name: supervisor.restarts(name) for name in names}
        screen.ledger(ledger, await control.accounts(), restarts)
        if keep:
            _tell_where(screen, site)
            await stop.wait()
        return 0 if ledger.balanced else 1


def _show(screen: Screen, event: ProcessEvent) -> None:
    screen.process(event)


async def _start(supervisor: Supervisor, site: Site, screen: Screen) -> list[str]:
    """Start every process in the order of the flow; returns their names."""
    began = time.monotonic()
    config = ("--config", str(site.config))
    tradewind = (sys.executable, "-m", "runtime.cli")
    port = site.settings.broker.port

    async def broker_answers() -> bool:
        return await asyncio.to_thread(answers, port)

    accounts = [f"--account={one.name}:{one.username}:{one.password}:{one.user_id}" for one in site.accounts]
    await supervisor.start(ProcessSpec(name="broker", argv=(*tradewind, "broker", *config), ready=broker_answers))
    await supervisor.start(
        ProcessSpec(
            name="servicetrade",
            argv=(sys.executable, "-m", "servicetrade.simulator", f"--port={site.simulator_port}", *accounts),
            ready=f"{site.simulator_url}/_control/day",
        )
    )
    await supervisor.wait_ready("broker", deadline_s=READY_S)
    await ensure_topics(site.settings.kafka)
    rules = read_rules_file(RULES, site.settings.accounts, max_ceiling_ms=site.settings.pipeline.max_ceiling_ms)
    await apply_rules(site.settings.kafka, rules)
    workers = {
        "ingest": ("ingest",),
        **{f"processors-{n}": ("processors", "--instance", f"processors-{n}") for n in range(1, PROCESSORS + 1)},
        MIRROR: ("sink", "mirror", "--instance", MIRROR),
    }
    for name, command in workers.items():
        ops_port = site.ops_ports[name]
        await supervisor.start(
            ProcessSpec(
                name=name,
                argv=(*tradewind, *command, *config, f"--ops-port={ops_port}"),
                ready=f"http://127.0.0.1:{ops_port}/readyz",
                stop_deadline_s=20,
            )
        )
    names = ["broker", "servicetrade", *workers]
    for name in names:
        await supervisor.wait_ready(name, deadline_s=READY_S)
    running = ", ".join(f"{name} {supervisor.pid(name)}" for name in names)
    screen.say(f"up after {time.monotonic() - began:.1f} s; pids: {running}")
    return names


async def _subscribe(site: Site, store: Database) -> None:
    """Register each account's webhook, over the session that the mirror will use as well."""
    sessions = SessionStore(store, site.settings.store.key)
    await sessions.create_tables()
    async with ServiceTradeClient(site.settings.servicetrade, site.settings.accounts, sessions) as client:
        for account in site.accounts:
            body = {
                "hookUrl": site.hook_url(account),
                "enabled": True,
                "includeChangesets": True,
                "entityEvents": None,
            }
            await client.account(account.name).create("webhook", body)


async def _pass_the_day(screen: Screen, site: Site, control: Control, reader: LogReader) -> None:
    screen.day_begins()
    try:
        while True:
            day = await control.day()
            figures = await _figures(site, day, reader)
            if figures is not None:
                screen.day(figures)
            if day["done"]:
                return
            await asyncio.sleep(0.25)
    finally:
        screen.day_ends()


async def _figures(site: Site, day: Mapping[str, int], reader: LogReader) -> Figures | None:
    """None while the broker is away: the day goes on without us looking."""
    try:
        async with asyncio.timeout(2):
            stored, changes, delivered = [
                await count_topic(reader, site, topic) for topic in (WEBHOOKS, CHANGES, DELIVERIES)
            ]
    except (KafkaError, TimeoutError):
        return None
    return Figures(
        planned=day["planned_messages"], sent=day["sent"], stored=stored, changes=changes, delivered=delivered
    )


async def _settle(site: Site, control: Control, reader: LogReader, store: Database) -> Ledger:
    """Wait until everything is accounted for; what is not after the deadline counts as lost."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        ledger = account_for(await gather(site, control, reader, store), site.settings.pipeline)
        if ledger.balanced or time.monotonic() > deadline:
            return ledger
        await asyncio.sleep(1)


def _tell_where(screen: Screen, site: Site) -> None:
    screen.say(f"Kafka         {site.settings.kafka.bootstrap_servers}")
    screen.say(f"ServiceTrade  {site.simulator_url}/api")
    screen.say(f"store         {site.folder / 'store.db'}")
    screen.say(f"configuration {site.config}")
    for name, port in site.ops_ports.items():
        screen.say(f"{name:13} http://127.0.0.1:{port}/metrics")
    screen.say("everything stays up; Ctrl-C stops it")
