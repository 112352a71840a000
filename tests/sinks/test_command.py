"""The command sink against a simulated ServiceTrade: what it performs, refuses and puts off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from runtime.settings import LoginSettings, StoreSettings
from schemas.command import Command, CommandResult
from schemas.errors import Reject, RetryLater
from sinks.command import CommandSink
from sinks.sink import Sink
from tests.simulator.support import running
from tests.sinks.commanding import NAME, NOW, Office, arrived, command, deliver, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with running() as simulator:
        yield Office(simulator)


@pytest.fixture
async def sink(office: Office, sqlite_settings: StoreSettings) -> AsyncIterator[CommandSink]:
    async with opened(sqlite_settings, office.url) as found:
        yield found


async def test_a_creation_is_performed_once_and_a_repeat_is_told_the_same(office: Office, sink: CommandSink) -> None:
    creation = await office.creation()
    result = await deliver(sink, creation)
    assert (result.outcome, result.status, result.attempts, result.latency_ms) == ("done", None, 1, 20)
    assert result.entity["name"] == NAME
    assert f"job/{result.entity_id}" in await office.entities()
    assert await deliver(sink, creation) == result
    assert await deliver(sink, creation, offset=9) == result
    assert await deliver(sink, creation, offset=10, again=True) == result
    assert (await office.made(), await office.writes()) == (1, 1)


async def test_an_update_and_a_deletion_are_performed(office: Office, sink: CommandSink) -> None:
    company = await office.an_id("company")
    updated = await deliver(sink, command("PUT", company, {"name": "renamed"}, entity_type="company"))
    assert (updated.outcome, updated.entity_id, updated.entity["name"]) == ("done", company, "renamed")
    deleted = await deliver(sink, command("DELETE", company, entity_type="company", id="c2"))
    assert (deleted.outcome, deleted.entity_id, deleted.entity) == ("done", company, None)
    assert f"company/{company}" not in await office.entities()


async def test_one_command_is_settled_in_each_call(office: Office, sink: CommandSink) -> None:
    worked: Sink[Command, CommandResult] = sink
    assert (worked.name, worked.fate) == ("command", "account")
    waiting = [arrived(await office.creation(id=one)) for one in ("c1", "c2")]
    assert [result.command_id for result in await worked.deliver(waiting)] == ["c1"]
    assert [result.command_id for result in await worked.deliver(waiting[1:])] == ["c2"]
    assert await office.made() == 2


async def test_what_servicetrade_refuses_has_failed_with_its_words(office: Office, sink: CommandSink) -> None:
    refused = await deliver(sink, command("POST", body={"name": NAME}))
    assert (refused.outcome, refused.status) == ("failed", 400)
    assert "Location is required" in refused.messages[0]
    missing = await deliver(sink, command("DELETE", "1", id="c2"))
    assert (missing.outcome, missing.status) == ("failed", 404)
    assert await deliver(sink, command("DELETE", "1", id="c2")) == missing
    assert await office.made() == 0


async def test_what_cannot_be_sent_is_rejected(office: Office, sink: CommandSink) -> None:
    with pytest.raises(Reject, match="account 'zebra' is not configured"):
        await deliver(sink, command("DELETE", "1", account="zebra"))
    with pytest.raises(Reject, match="no path is known for entities of type 'clockevent'"):
        await deliver(sink, command("DELETE", "1", entity_type="clockevent"))
    assert await office.writes() == 0


async def test_another_command_under_a_known_id_is_rejected(office: Office, sink: CommandSink) -> None:
    creation = await office.creation()
    result = await deliver(sink, creation)
    with pytest.raises(Reject, match="command id 'c1' was used before, for something else"):
        await deliver(sink, replace(creation, body={**(creation.body or {}), "name": "another"}))
    assert await deliver(sink, replace(creation, not_after=1)) == result


async def test_what_is_too_late_is_not_begun(office: Office, sink: CommandSink) -> None:
    result = await deliver(sink, await office.creation(not_after=int(NOW) - 1))
    assert (result.outcome, result.attempts) == ("expired", 0)
    assert (await deliver(sink, await office.creation(not_after=int(NOW), id="c2"))).outcome == "done"
    assert await office.writes() == 1


async def test_while_servicetrade_asks_for_a_pause_nothing_is_on_record_as_sent(
    office: Office, sink: CommandSink
) -> None:
    creation = await office.creation()
    await office.simulator.fault(on="resource", method="POST", status=429, retry_after=0.01, times=1)
    with pytest.raises(RetryLater) as caught:
        await deliver(sink, creation)
    assert (caught.value.scope, caught.value.after_s, caught.value.lasting) == ("account", 0.01, False)
    result = await deliver(sink, creation)
    assert (result.outcome, result.attempts, await office.made()) == ("done", 1, 1)


async def test_without_a_session_nothing_is_sent_and_the_account_waits(
    office: Office, sqlite_settings: StoreSettings
) -> None:
    creation, url = await office.creation(), office.url
    await office.simulator.fault(on="login", status=429, retry_after=600, times=1)
    async with opened(sqlite_settings, url, login=LoginSettings()) as sink:
        with pytest.raises(RetryLater) as throttled:
            await deliver(sink, creation)
        assert (throttled.value.scope, throttled.value.lasting) == ("account", False)
        assert throttled.value.after_s is not None
        await sink._client.sessions.unlock("acme")
    async with opened(sqlite_settings, url, password="wrong") as sink:
        with pytest.raises(RetryLater) as refused:
            await deliver(sink, creation)
        assert (refused.value.scope, refused.value.lasting) == ("account", True)
    async with opened(sqlite_settings, url) as sink:
        result = await deliver(sink, creation)
        assert (result.outcome, result.attempts, await office.made()) == ("done", 1, 1)


async def test_what_never_left_for_want_of_a_connection_is_not_uncertain(sqlite_settings: StoreSettings) -> None:
    async with running() as gone:
        office = Office(gone)
        creation = await office.creation()
        async with opened(sqlite_settings, gone.url) as sink:
            assert (await deliver(sink, await office.creation(id="c0"))).outcome == "done"
    async with opened(sqlite_settings, gone.url) as sink:
        with pytest.raises(RetryLater) as caught:
            await deliver(sink, creation)
        assert caught.value.scope == "account"
        known = await sink._store.find("acme", "c1")
        assert known is not None
        assert (known.state, known.attempts) == ("open", 0)
