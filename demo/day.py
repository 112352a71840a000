"""An office day at the simulated ServiceTrade, from the subscriptions to the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from demo.evidence import count_topic, gather
from demo.ledger import Ledger, account_for
from demo.screen import Figures, Screen
from demo.simulator import Control
from demo.stage import Stage
from runtime.database import Database
from runtime.kafka import KafkaError, LogReader
from schemas.errors import StoreError
from schemas.topics import CHANGES, DELIVERIES, WEBHOOKS
from servicetrade.client import open_servicetrade
from servicetrade.subscriptions import Subscriptions

SETTLE_S = 90.0
"""How long the pipeline may take after the day to account for everything: windows close, retries end."""


async def subscribe(stage: Stage) -> None:
    """Register each account's webhook where it is not there yet, over the session that the mirror will use as well.

    Not as `tradewind subscribe` does it: that one refuses what ServiceTrade could only reach without TLS.
    """
    async with open_servicetrade(stage.settings) as client:
        for account in stage.accounts:
            there = await Subscriptions(stage.settings, client, account.name).hooks()
            if any(one.url == stage.hook_url(account) for one in there):
                continue
            hook = {
                "hookUrl": stage.hook_url(account),
                "enabled": True,
                "includeChangesets": True,
                "entityEvents": None,
            }
            await client.account(account.name).create("webhook", hook)


async def pass_day(screen: Screen, stage: Stage, control: Control, reader: LogReader) -> None:
    """Show how far the day is, until ServiceTrade has sent all that it will."""
    with screen.live():
        while True:
            day = await control.day()
            figures = await _figures(stage, day, reader)
            if figures is not None:
                screen.day(figures)
            if day["done"]:
                return
            await asyncio.sleep(0.25)


async def _figures(stage: Stage, day: Mapping[str, int], reader: LogReader) -> Figures | None:
    """None while the broker is away: the day goes on without us looking."""
    try:
        async with asyncio.timeout(2):
            stored, changes, delivered = [
                await count_topic(reader, stage, topic) for topic in (WEBHOOKS, CHANGES, DELIVERIES)
            ]
    except (KafkaError, TimeoutError):
        return None
    return Figures(
        planned=day["planned_messages"], sent=day["sent"], stored=stored, changes=changes, delivered=delivered
    )


async def settle(stage: Stage, control: Control, reader: LogReader, store: Database) -> Ledger:
    """Wait until everything is accounted for; what is not after the deadline counts as lost.

    Raises:
        KafkaError, StoreError: the broker, or the store, was away until the deadline.
    """
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            ledger = account_for(await gather(stage, control, reader, store), stage.settings.pipeline)
        except (KafkaError, StoreError):  # it will be back
            if time.monotonic() > deadline:
                raise
        else:
            if ledger.balanced or time.monotonic() > deadline:
                return ledger
        await asyncio.sleep(1)
