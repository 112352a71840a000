"""`tradewind mirror`: fills the mirror with what was there before the webhooks came."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from cyclopts import App, Parameter, validators

from cli.backfill_screen import backfill_screen
from cli.console import DEFAULT_CONFIG, ERR, FAILED, OK, OUT, Config
from cli.options import read_past
from runtime.database import open_database
from runtime.settings import Settings, read_settings
from runtime.store_schema import upgrade
from schemas.errors import ServiceTradeError, SettingsError, StoreError
from servicetrade.client import open_client
from servicetrade.hook_events import all_types
from servicetrade.session_store import SessionStore
from servicetrade.subscriptions import require_account
from sinks.backfill import Backfill
from sinks.backfill_plan import Wanted, page_limits
from sinks.backfill_store import BackfillStore, Progress, TakenOver

mirror_app = App(name="mirror", help="The SQL copy of the accounts' entities.")


@mirror_app.command
def backfill(
    *,
    account: Annotated[str, Parameter(help="Of this account.")],
    types: Annotated[str, Parameter(help="Of these types, separated by commas: job,location.")],
    since: Annotated[str, Parameter(help="Updated since then: 2026-03-01T08:00 (UTC), 2026-03-01, 12h, 7d or 4w.")],
    restart: Annotated[
        bool, Parameter(help="Begin anew, also if the same backfill was not finished.", negative="")
    ] = False,
    page_limit: Annotated[
        int | None, Parameter(help="Items of a page, instead of the usual 500.", validator=validators.Number(gte=1))
    ] = None,
    patience_s: Annotated[
        float, Parameter(help="Seconds for which ServiceTrade may fail.", validator=validators.Number(gte=0))
    ] = 300,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Read entities from ServiceTrade's lists into the mirror, page by page; a live mirror may go on meanwhile.

    It can be ended at any time: the same command goes on where it stopped. What the mirror has, and is as new, stays.
    """
    settings = read_settings(config)
    wanted = _wanted(settings, account, types, since, page_limit)
    try:
        done = asyncio.run(_run(settings, wanted, restart=restart, patience_s=patience_s))
    except TakenOver:
        ERR.print("stopped here: the same backfill was started once more, and goes on there")
        return FAILED
    except (ServiceTradeError, StoreError, KeyboardInterrupt):
        ERR.print("stopped: what was read is kept, and the same command goes on from there", soft_wrap=True)
        raise
    for progress in done:
        counts = f"{progress.items_read:,} read, {progress.rows_written:,} written"
        OUT.print(f"{account}: {progress.entity_type}: {counts}", highlight=False, soft_wrap=True)
    return OK


def _wanted(settings: Settings, account: str, types: str, since: str, page_limit: int | None) -> Wanted:
    require_account(settings, account)
    names = [name.strip().lower() for name in types.split(",") if name.strip()]
    try:
        limits = page_limits(names, all_types(settings.servicetrade.types), page_limit)
    except ValueError as error:
        raise SettingsError(f"--types: {error}") from None
    since_at = read_past("--since", since.strip(), time.time_ns() // 1_000_000) // 1000
    return Wanted(account=account, page_limits=limits, since=since.strip(), since_at=since_at)


async def _run(settings: Settings, wanted: Wanted, *, restart: bool, patience_s: float) -> list[Progress]:
    async with open_database(settings.store) as engine:
        await upgrade(engine)
        sessions = SessionStore(engine, settings.store.key)
        async with open_client(settings.servicetrade, settings.accounts, sessions) as client:
            with backfill_screen(ERR) as tell:
                account = client.account(wanted.account)
                backfill = Backfill(account, BackfillStore(engine), tell, patience_s=patience_s)
                return await backfill.run(wanted, restart=restart)
