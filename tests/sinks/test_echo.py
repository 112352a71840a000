"""The echo of one's own write: a command's effect comes back as a webhook, and the rules can tell it by its user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from processors.consolidator import Outcome
from runtime.settings import StoreSettings
from schemas.record import LogRecord
from tests.processors.running import core_with, tick
from tests.simulator.support import Receiver, receiving, running
from tests.sinks.commanding import Office, command, deliver, opened

pytestmark = pytest.mark.anyio

API_USER = 1234
"""As the simulator has it for acme."""
QUICK = {"quiet_ms": 10, "ceiling_ms": 100}


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with running() as simulator:
        yield Office(simulator)


def consolidated(receiver: Receiver, rules: Mapping[str, object]) -> tuple[Outcome, int]:
    """What the core makes of the webhooks that came, and how many notifications it filtered."""
    core = core_with(rules)
    outcome = core.feed(
        [
            *(LogRecord(offset=n, timestamp=1_000, key=b"acme", value=body) for n, body in enumerate(receiver.bodies)),
            tick(len(receiver.bodies), 60_000),
        ]
    )
    assert core.ledger.imbalance(core.open_notifications) == 0
    return outcome, core.ledger.filtered


async def test_the_webhook_of_a_commands_effect_is_filtered_by_the_api_users_id_and_a_change_without_that_rule(
    office: Office, sqlite_settings: StoreSettings
) -> None:
    company = await office.an_id("company")
    async with receiving() as receiver, opened(sqlite_settings, office.url) as sink:
        await office.simulator.subscribe(receiver.url)
        result = await deliver(sink, command("PUT", company, {"name": "renamed"}, entity_type="company"))
        assert result.outcome == "done"
        await office.simulator.settled()
    (message,) = receiver.messages()
    assert [(one["entity"]["id"], one["userId"]) for one in message["data"]] == [(int(company), API_USER)]

    with_the_rule, filtered = consolidated(receiver, {**QUICK, "ignore_users": [API_USER]})
    assert (with_the_rule.changes, filtered) == ([], 1)

    without_it, filtered = consolidated(receiver, QUICK)
    (change,) = without_it.changes
    assert (change.key, change.action, change.users, filtered) == (f"acme/company/{company}", "updated", (API_USER,), 0)
