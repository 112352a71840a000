"""The worker ends between any two steps of the command sink; another one goes on with the same store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from runtime.settings import StoreSettings
from schemas.command import Command, CommandResult
from sinks.command import STEPS
from tests.simulator.support import running
from tests.sinks.commanding import LOST, CrashAt, CrashError, Office, command, deliver, opened, until_settled

pytestmark = pytest.mark.anyio

NEVER_CAME = {**LOST, "processed": False}
TOO_MANY = {"on": "resource", "status": 429, "retry_after": 0, "times": 1}
Case = tuple[Mapping[str, Any] | None, str]
ALWAYS: list[Case] = [(None, "found"), (None, "intended"), (None, "answered"), (None, "recorded")]
SOMETIMES: list[Case] = [(LOST, "answered"), (LOST, "recorded"), (TOO_MANY, "answered"), (TOO_MANY, "taken-back")]
CHECKED: list[Case] = [(LOST, "looked"), (NEVER_CAME, "answered"), (NEVER_CAME, "looked")]


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with running() as simulator:
        yield Office(simulator)


async def after_a_crash(office: Office, settings: StoreSettings, one: Command, case: Case) -> CommandResult:
    """What came of a command whose first worker ended at a step."""
    fault, step = case
    if fault is not None:
        await office.simulator.fault(**{**fault, "method": one.method, "path": None})
    async with opened(settings, office.url, at=CrashAt(step)) as first:
        with pytest.raises(CrashError, match=step):
            await deliver(first, one)
    async with opened(settings, office.url) as second:
        result = await until_settled(second, one)
        assert await deliver(second, one) == result
    return result


async def test_a_creation_with_a_check_is_made_once_wherever_the_worker_ends(
    office: Office, sqlite_settings: StoreSettings
) -> None:
    cases = [*ALWAYS, *SOMETIMES, *CHECKED]
    assert {step for _, step in cases} == set(STEPS)
    for number, case in enumerate(cases):
        name = f"c{number}"
        one = await office.creation(id=name, name=name, checked=True)
        result = await after_a_crash(office, sqlite_settings, one, case)
        assert (result.outcome, await office.made(name)) == ("done", 1), case


async def test_a_creation_without_a_check_is_made_once_at_most_wherever_the_worker_ends(
    office: Office, sqlite_settings: StoreSettings
) -> None:
    for number, case in enumerate([*ALWAYS, *SOMETIMES]):
        name = f"c{number}"
        one = await office.creation(id=name, name=name)
        result = await after_a_crash(office, sqlite_settings, one, case)
        unknown = case[0] is LOST or case[1] in ("intended", "answered")
        assert result.outcome == ("uncertain" if unknown else "done"), case
        assert await office.made(name) == (0 if case in ((None, "intended"), (TOO_MANY, "answered")) else 1)


async def test_updates_and_deletions_are_done_wherever_the_worker_ends(
    office: Office, sqlite_settings: StoreSettings
) -> None:
    companies = [key for key in await office.entities() if key.startswith("company/")]
    cases = [*ALWAYS, (LOST, "answered"), (TOO_MANY, "taken-back")]
    for case, company in zip(cases, companies[: len(cases)], strict=True):
        entity_id = company.split("/")[1]
        update = command("PUT", entity_id, {"name": "new"}, entity_type="company", id=f"put-{entity_id}")
        assert (await after_a_crash(office, sqlite_settings, update, case)).outcome == "done"
        assert (await office.entities())[company]["name"] == "new"
        deletion = command("DELETE", entity_id, entity_type="company", id=f"delete-{entity_id}")
        assert (await after_a_crash(office, sqlite_settings, deletion, case)).outcome == "done"
        assert company not in await office.entities()
