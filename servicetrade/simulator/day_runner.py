"""Runs a planned office day against the accounts, in real time, and tells how far it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from servicetrade.simulator.accounts import Account, Accounts
from servicetrade.simulator.messages import UNKNOWN_TYPE
from servicetrade.simulator.office_day import Crew, DaySettings, Planned, elements, plan_day
from servicetrade.simulator.publisher import publish
from servicetrade.simulator.tasks import Tasks
from servicetrade.simulator.world import Event


class DayRunner:
    """At most one day at a time; the next one has other messageIds, even with the same seed."""

    def __init__(self, accounts: Accounts, tasks: Tasks) -> None:
        self._accounts = accounts
        self._tasks = tasks
        self._state = "idle"
        self._day = 0
        self._settings = DaySettings()
        self._plan: list[Planned] = []
        self._sent_messages = 0
        self._sent_elements = 0

    def start(self, settings: DaySettings, accounts: Sequence[Account]) -> None:
        """Plan a day for these accounts and begin it; ValueError while another one runs."""
        if self._state == "running":
            raise ValueError("a day is under way")
        self._day += 1
        self._settings = settings
        crews = [Crew(account=one.name, world=one.world, api_user=one.user_id) for one in accounts]
        self._plan = plan_day(settings, crews, day=self._day)
        self._sent_messages = self._sent_elements = 0
        self._state = "running"
        self._tasks.start(self._run())

    def progress(self) -> dict[str, Any]:
        """Where the day stands; `done` once the last message is delivered or refused for good.

        delivered, pending and refused_for_good are sendings (repeats count) of all accounts' journals.
        """
        totals = [account.journal.totals() for account in self._accounts]
        pending = sum(one["pending"] for one in totals)
        refused = sum(one["refused_for_good"] for one in totals)
        return {
            "state": self._state,
            "day": self._day,
            "seed": self._settings.seed,
            "planned_messages": len(self._plan),
            "planned_elements": elements(self._plan),
            "sent": self._sent_messages,
            "sent_elements": self._sent_elements,
            "delivered": sum(one["sendings"] for one in totals) - pending - refused,
            "pending": pending,
            "refused_for_good": refused,
            "done": self._state == "finished" and not pending,
        }

    async def _run(self) -> None:
        start = time.monotonic()
        for message in self._plan:
            await asyncio.sleep(max(0.0, start + message.at_s - time.monotonic()))
            account = self._accounts.named(message.account)
            if account is not None:
                self._sent_elements += _perform(account, message, time.time())
            self._sent_messages += 1
        self._state = "finished"


def _perform(account: Account, message: Planned, now: float) -> int:
    events = [event for op in message.ops if (event := account.world.apply(op, now)) is not None]
    if message.unknown_type_id is not None:
        id_ = message.unknown_type_id
        events.append(Event(type=UNKNOWN_TYPE, id=id_, action="updated", user_id=account.user_id, at=int(now)))
    return publish(account, events, now, message.script)
