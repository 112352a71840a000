"""The command sink when nobody can say what became of a request, or when the store or another worker is in the way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from runtime.settings import StoreSettings
from schemas.errors import RetryLater
from sinks.command import CommandSink
from tests.simulator.support import running, until
from tests.sinks.commanding import LOST, Office, command, deliver, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with running() as simulator:
        yield Office(simulator)


@pytest.fixture
async def sink(office: Office, sqlite_settings: StoreSettings) -> AsyncIterator[CommandSink]:
    async with opened(sqlite_settings, office.url) as found:
        yield found


async def test_a_creation_whose_answer_is_lost_is_uncertain_and_not_repeated_until_a_person_says_so(
    office: Office, sink: CommandSink, caplog: pytest.LogCaptureFixture
) -> None:
    creation = await office.creation()
    await office.simulator.fault(**LOST)
    result = await deliver(sink, creation)
    assert (result.outcome, result.status, result.entity_id) == ("uncertain", None, None)
    assert "POST /job: no answer" in result.messages[0]
    assert "command.uncertain" in caplog.messages
    assert await deliver(sink, creation) == result
    assert await office.made() == 1
    again = await deliver(sink, creation, offset=7, again=True)
    assert (again.outcome, again.attempts, await office.made()) == ("done", 2, 2)
    assert await deliver(sink, creation, offset=7, again=True) == again
    assert await office.made() == 2


async def test_a_creation_whose_answer_is_lost_is_found_by_its_check(office: Office, sink: CommandSink) -> None:
    await office.simulator.fault(**LOST)
    result = await deliver(sink, await office.creation(checked=True))
    assert (result.outcome, result.checked, result.attempts) == ("done", True, 1)
    assert f"job/{result.entity_id}" in await office.entities()
    assert await office.made() == 1


async def test_a_creation_that_got_lost_is_repeated_when_its_check_does_not_find_it(
    office: Office, sink: CommandSink
) -> None:
    creation = await office.creation(checked=True)
    await office.simulator.fault(**{**LOST, "processed": False})
    with pytest.raises(RetryLater, match="does not find it"):
        await deliver(sink, creation)
    result = await deliver(sink, creation)
    assert (result.outcome, result.checked, result.attempts, await office.made()) == ("done", False, 2, 1)


async def test_what_was_sent_a_moment_ago_is_not_repeated_although_it_is_not_found(
    office: Office, sqlite_settings: StoreSettings
) -> None:
    creation = await office.creation(checked=True)
    await office.simulator.fault(**{**LOST, "processed": False})
    async with opened(sqlite_settings, office.url, settle_s=600) as sink:
        for _ in range(2):
            with pytest.raises(RetryLater, match="may still be under way") as caught:
                await deliver(sink, creation)
            assert 0 < (caught.value.after_s or 0) <= 600
    assert await office.writes() == 1


async def test_a_check_that_fails_is_made_again_and_nothing_is_sent_before(office: Office, sink: CommandSink) -> None:
    creation = await office.creation(checked=True)
    await office.simulator.fault(**LOST)
    broken = await office.simulator.fault(on="resource", method="GET", path="job", status=503)
    with pytest.raises(RetryLater):
        await deliver(sink, creation)
    await office.simulator.clear_faults(id_=broken["id"])
    result = await deliver(sink, creation)
    assert (result.outcome, result.checked, await office.made()) == ("done", True, 1)


@pytest.mark.parametrize("fault", [{"reset": True, "processed": True}, {"status": 500}], ids=str)
async def test_updates_and_deletions_of_unknown_fate_are_sent_again(
    office: Office, sink: CommandSink, fault: dict[str, Any]
) -> None:
    company = await office.an_id("company")
    for one in (
        command("PUT", company, {"name": "renamed"}, entity_type="company"),
        command("DELETE", company, entity_type="company", id="c2"),
    ):
        await office.simulator.fault(on="resource", method=one.method, times=1, **fault)
        with pytest.raises(RetryLater) as caught:
            await deliver(sink, one)
        assert caught.value.scope == "entity"
        result = await deliver(sink, one)
        assert (result.outcome, result.attempts) == ("done", 2)
    assert f"company/{company}" not in await office.entities()


class Outage:
    """Takes the table away when a step is reached: the store fails in earnest."""

    def __init__(self, settings: StoreSettings, step: str) -> None:
        self._path = Path(make_url(settings.url).database or "")
        self._step = step

    def __call__(self, step: str) -> None:
        if step == self._step:
            self._step = ""
            self.rename("commands", "gone")

    def rename(self, old: str, new: str) -> None:
        def work() -> None:
            with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
                connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


@pytest.mark.parametrize(("step", "fault"), [("answered", None), ("answered", 429), ("found", None)])
async def test_an_outcome_that_the_store_did_not_take_is_not_forgotten(
    office: Office, sqlite_settings: StoreSettings, step: str, fault: int | None
) -> None:
    creation = await office.creation()
    if fault is not None:
        await office.simulator.fault(on="resource", method="POST", status=fault, times=1)
    outage = Outage(sqlite_settings, step)
    async with opened(sqlite_settings, office.url, at=outage) as sink:
        for _ in range(2):
            with pytest.raises(RetryLater, match="the store: no such table") as caught:
                await deliver(sink, creation)
            assert caught.value.scope == "sink"
        outage.rename("gone", "commands")
        if fault is not None:
            with pytest.raises(RetryLater, match="429"):
                await deliver(sink, creation)
        result = await deliver(sink, creation)
    assert (result.outcome, result.attempts, await office.made()) == ("done", 1, 1)


async def held(office: Office, requests: int = 1) -> None:
    async def reached() -> bool:
        return bool((await office.simulator.counters())["requests_held"] == requests)

    await until(reached)


async def test_a_worker_that_was_overtaken_says_so_and_leaves_the_record_alone(
    office: Office, sink: CommandSink, sqlite_settings: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    creation = await office.creation()
    await office.simulator.fault(on="resource", method="POST", hold=True)
    first = asyncio.create_task(deliver(sink, creation))
    await held(office)
    async with opened(sqlite_settings, office.url) as other:
        result = await deliver(other, creation)
    assert result.outcome == "uncertain"
    await office.simulator.clear_faults()
    with pytest.raises(RetryLater, match="another worker"):
        await first
    assert "command.overtaken" in caplog.messages
    assert await deliver(sink, creation) == result
    assert await office.made() == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_request_under_way_is_finished_when_its_call_is_cancelled_unless_that_is_insisted_on(
    office: Office, sink: CommandSink, times: int
) -> None:
    creation = await office.creation()
    await office.simulator.fault(on="resource", method="POST", hold=True, processed=True)
    calling = asyncio.create_task(deliver(sink, creation))
    await held(office)
    for _ in range(times):
        calling.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    if times == 1:
        await office.simulator.clear_faults()
    with pytest.raises(asyncio.CancelledError):
        await calling
    result = await deliver(sink, creation)
    assert (result.outcome, await office.made()) == ("done" if times == 1 else "uncertain", 1)
