"""An office day in front of a pipeline that others keep running: the compose file's profile `demo`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from demo.day import pass_day, settle, subscribe
from demo.screen import Screen
from demo.simulator import Control
from demo.stage import MIRROR, DemoAccount, Stage
from rules.apply import apply_rules
from rules.file import read_rules_file
from runtime.database import open_database
from runtime.kafka import LogReader
from runtime.settings import Settings
from schemas.errors import SettingsError

_FIRST_USER_ID = 900_001


async def visit(settings: Settings, *, rules: Path | None, notifications: int, duration_s: float, out: Console) -> int:
    """Furnish the configured accounts at the simulated ServiceTrade, let a day pass, and account for everything.

    May be called again: the ledger covers all that the simulator ever sent.

    Returns:
        0 if every notification that was answered with 2xx is accounted for, at every configured sink, else 1; also
        1 if there was none.

    Raises:
        SettingsError: the rules cannot be used, or ingest.public_url is missing.
        TradewindError, KafkaError: a part of the pipeline was away for too long.
    """
    screen, stage = Screen(out), _stage(settings)
    if rules is not None:
        ceiling_ms = settings.pipeline.max_ceiling_ms
        await apply_rules(settings.kafka, read_rules_file(rules, settings.accounts, max_ceiling_ms=ceiling_ms))
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(Control.open(stage.simulator_url))
        known = {account["name"] for account in await control.accounts()}
        for account in stage.accounts:
            if account.name not in known:
                await control.add_account(account)
        store = await stack.enter_async_context(open_database(settings.store))
        reader = await stack.enter_async_context(LogReader.open(settings.kafka, client_id="demo"))
        await subscribe(stage)
        screen.say("the day begins")
        await control.start_day(notifications=notifications, duration_s=duration_s)
        await pass_day(screen, stage, control, reader)
        screen.say("the day is over; waiting until everything is accounted for")
        ledger = await settle(stage, control, reader, store)
        screen.ledger(ledger, await control.accounts(), {})
        if not ledger.accepted:
            screen.say("but nothing was accepted: does ServiceTrade reach ingest at ingest.public_url?")
    return 0 if ledger.balanced and ledger.accepted else 1


def _stage(settings: Settings) -> Stage:
    if settings.ingest.public_url is None:
        raise SettingsError("ingest.public_url: how the simulated ServiceTrade reaches ingest is needed here")
    return Stage(
        settings=settings,
        accounts=tuple(
            DemoAccount(
                name=name,
                username=account.username,
                password=account.password.reveal(),
                user_id=_FIRST_USER_ID + number,
                hook_secret=account.live_secrets[-1],
            )
            for number, (name, account) in enumerate(settings.accounts.items())
        ),
        simulator_url=settings.servicetrade.base_url,
        ingest_url=settings.ingest.public_url,
        sinks=(MIRROR, *(f"forward/{name}" for name in settings.sinks.forward)),
    )
