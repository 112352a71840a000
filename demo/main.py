"""The demo itself: start everything, let an office day pass, wait until it is accounted for, say what became of it."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from demo.day import pass_day, settle, subscribe
from demo.ledger import Ledger
from demo.processes import start_pipeline, start_upstream, supervised
from demo.screen import Screen
from demo.simulator import Control
from demo.site import RULES, Site, make_site
from rules.apply import apply_rules
from rules.file import read_rules_file
from runtime.broker import PreparedBroker, prepare
from runtime.database import open_database
from runtime.kafka import LogReader
from runtime.kafka.topics import ensure_topics

INTERRUPTED = 130


def run_demo(folder: Path, *, keep: bool, notifications: int, duration_s: float, out: Console) -> int:
    """Run the demo in `folder`.

    Returns:
        0 if every notification that was answered with 2xx is accounted for, else 1; 130 after Ctrl-C.

    Raises:
        TradewindError: something could not be started.
        KeyboardInterrupt: Ctrl-C while Kafka is fetched.
    """
    screen, site = Screen(out), make_site(folder)
    # Before there is an event loop: fetching takes a while, and Ctrl-C shall end it at once.
    broker = prepare(site.settings.broker.data_dir, port=site.settings.broker.port, report=screen.say)
    demo = _Demo(site, broker, screen)
    return asyncio.run(_until_interrupted(demo, screen, keep=keep, day=(notifications, duration_s)))


async def _until_interrupted(run: _Demo, screen: Screen, *, keep: bool, day: tuple[int, float]) -> int:
    interrupted = asyncio.Event()
    demo = asyncio.create_task(run.run(*day, until=interrupted if keep else None))

    def interrupt() -> None:
        if interrupted.is_set():  # again: no more patience, what is left is killed
            demo.cancel()
        interrupted.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    waiting = asyncio.create_task(interrupted.wait())
    await asyncio.wait({demo, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if keep and screen.settled:
        return await demo
    if not demo.done():
        demo.cancel()
        await asyncio.wait({demo})
    if demo.cancelled():
        screen.say("stopped")
        return INTERRUPTED
    return demo.result()


class _Demo:
    """One run."""

    def __init__(self, site: Site, broker: PreparedBroker, screen: Screen) -> None:
        self._site = site
        self._broker = broker
        self._screen = screen

    async def run(self, notifications: int, duration_s: float, *, until: asyncio.Event | None) -> int:
        screen, site = self._screen, self._site
        kafka = site.settings.kafka
        screen.say("starting")
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            supervisor = await stack.enter_async_context(supervised(site, screen))
            await start_upstream(supervisor, site, self._broker)
            control = await stack.enter_async_context(Control.open(site.simulator_url))
            for account in site.accounts:
                await control.add_account(account)
            await ensure_topics(kafka)
            ceiling_ms = site.settings.pipeline.max_ceiling_ms
            await apply_rules(kafka, read_rules_file(RULES, site.settings.accounts, max_ceiling_ms=ceiling_ms))
            names = await start_pipeline(supervisor, site)
            pids = ", ".join(f"{name} {supervisor.pid(name)}" for name in names)
            screen.say(f"up after {time.monotonic() - began:.1f} s; pids: {pids}")
            store = await stack.enter_async_context(open_database(site.settings.store))
            reader = await stack.enter_async_context(LogReader.open(kafka, client_id="demo"))
            await subscribe(site)
            screen.say(f"logs in {site.folder / 'logs'}; kill any of these and watch")
            await control.start_day(notifications=notifications, duration_s=duration_s)
            await pass_day(screen, site, control, reader)
            screen.say("the day is over; waiting until everything is accounted for")
            ledger = await settle(site, control, reader, store)
            screen.ledger(ledger, await control.accounts(), {name: supervisor.restarts(name) for name in names})
            if until is not None:
                _tell_where(screen, site)
                _tell_what_to_try(screen, site, ledger)
                screen.say("everything stays up; Ctrl-C stops it")
                await until.wait()
        return 0 if ledger.balanced else 1


def _tell_where(screen: Screen, site: Site) -> None:
    screen.say(f"Kafka         {site.settings.kafka.bootstrap_servers}")
    screen.say(f"ServiceTrade  {site.simulator_url}/api")
    screen.say(f"store         {site.folder / 'store.db'}")
    screen.say(f"configuration {site.config}")
    for name, port in site.ops_ports.items():
        screen.say(f"{name:13} http://127.0.0.1:{port}/metrics")


def _tell_what_to_try(screen: Screen, site: Site, ledger: Ledger) -> None:
    """Commands for another terminal, to be copied as they are."""
    tradewind = shlex.quote(str(_near(Path(sys.executable).with_name("tradewind"))))
    config = shlex.quote(str(_near(site.config)))
    commands = ["status", "replay --from 1h --into live"]
    if ledger.busiest is not None:
        commands.insert(1, f"story {ledger.busiest.subject} --account {ledger.busiest.account}")
    for command in commands:
        screen.say(f"try           {tradewind} {command} --config {config}")


def _near(path: Path) -> Path:
    """Relative to where the demo was started, if it is in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
