"""The harness's own parts: what its subscribers tell apart, and that its edits change nothing behind its back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import httpx
import pytest

from runtime.kafka import Producer
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings, read_settings
from schemas.topics import CHANGES
from tests.sinks_chaos.appender import Appender
from tests.sinks_chaos.backlog import queue_up
from tests.sinks_chaos.desk import Desk
from tests.sinks_chaos.load import Load
from tests.sinks_chaos.office import Office, failing, reads, refusing, running_office
from tests.sinks_chaos.site import QUICK, build_site
from tests.sinks_chaos.subscribers import Habit, Subscriber, subscribing

pytestmark = pytest.mark.anyio
ACCOUNTS = ("one", "two")
HABITS = (Habit(name="good"), Habit(name="failing", fails=1.0), Habit(name="silent", dead="silent"))


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with running_office(tmp_path, seed=1, accounts=ACCOUNTS) as found:
        yield found


@pytest.fixture
async def desks(office: Office, kafka: KafkaSettings) -> AsyncIterator[list[Desk]]:
    await ensure_topics(kafka, [CHANGES])
    async with Producer.open(kafka, client_id="sinks-chaos-test", linger_ms=5) as producer:
        appender = Appender(producer, 1, topic=kafka.topic_prefix + CHANGES.name)
        found = [Desk(account=name, office=office, appender=appender, rng=Random(name)) for name in ACCOUNTS]
        for desk in found:
            await desk.open()
        yield found


async def post(one: Subscriber, change_id: str, *, secret: str | None = None, path: str = "") -> int:
    body, at = b'{"a": 1}', str(int(time.time()))
    key = base64.b64decode((secret or one.secrets[0]).removeprefix("whsec_"))
    signed = hmac.new(key, f"{change_id}.{at}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "content-type": "application/json",
        "webhook-id": change_id,
        "webhook-timestamp": at,
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }
    async with httpx.AsyncClient(trust_env=False, timeout=0.5) as http:
        return (await http.post(one.url + path, content=body, headers=headers)).status_code


async def test_a_subscriber_keeps_what_it_got_and_what_was_wrong_with_it() -> None:
    async with subscribing(HABITS, seed=1) as (good, failing_one, _):
        assert await post(good, "c1") == 204
        assert await post(good, "c2", secret=failing_one.secrets[0]) == 204
        assert await post(good, "c3", path="/elsewhere") == 204
        assert await post(failing_one, "c1") == 500
    assert [(one.change_id, one.accepted) for one in good.requests] == [("c1", True), ("c2", True), ("c3", True)]
    assert [one.fault for one in good.requests] == [None, "secret 0 has not signed it", None]
    assert [line.split(",")[0] for line in good.unreadable] == ["POST /hooks/changes/elsewhere HTTP/1.1"]
    assert [one.accepted for one in failing_one.requests] == [False]


async def test_a_silent_subscriber_takes_the_connection_and_never_answers() -> None:
    async with subscribing(HABITS, seed=1) as (*_, silent):
        with pytest.raises(httpx.ReadTimeout):
            await post(silent, "c1")
    assert (silent.connections, silent.requests) == (1, [])


async def test_no_entity_changes_in_an_answer_of_servicetrade_without_a_change_that_tells_so(
    office: Office, desks: list[Desk]
) -> None:
    before = {name: await office.entities(name) for name in ACCOUNTS}
    load = Load(desks=desks, changes=400, rate=10_000, rng=Random(1), refused=[(desks[0], desks[0].stranger())])
    await load.run()
    ledger = desks[0].appender.ledger
    told = ledger.mirrored()
    for name in ACCOUNTS:
        after = await office.entities(name)
        changed = {key for key in {**before[name], **after} if before[name].get(key) != after.get(key)}
        assert changed
        assert {(name, *key.split("/")) for key in changed} <= told
    assert len(ledger.entries) == load.done >= 400
    assert {entry.fate for entry in ledger.entries} == {"good", "pathless", "impossible", "refused"}
    assert ledger.garbage
    assert reads(await office.counters()) == 0


async def test_the_same_seed_makes_the_same_changes(desks: list[Desk]) -> None:
    for desk in desks:
        desk.rng = Random("the same")
        desk.things.clear()
        await desk.open()
        for _ in range(60):
            await desk.act()
    appender = desks[0].appender
    await appender.flush()
    told = [(entry.entity[0], entry.entity[1], entry.action) for entry in appender.ledger.entries]
    assert [what for name, *what in told if name == "one"] == [what for name, *what in told if name == "two"]


async def test_a_backlog_has_as_many_changes_and_entities_as_were_asked_for(desks: list[Desk]) -> None:
    await asyncio.gather(*(queue_up(desk, entities=20, changes=100) for desk in desks))
    ledger = desks[0].appender.ledger
    await desks[0].appender.flush()
    assert len(ledger.entries) == 200
    assert len(ledger.mirrored()) == 40
    assert sum(entry.action == "created" for entry in ledger.entries) == 40


async def test_the_failing_share_of_reads_fails_and_an_entity_can_be_refused_for_good(office: Office) -> None:
    await office.place("one", [refusing("quote", "5", 422)])
    await office.place("one", failing(0.5))
    headers = {"cookie": office.sessions["one"]}

    async def read(path: str) -> int:
        try:
            return (await office.http.get(f"/api/{path}", headers=headers)).status_code
        except httpx.TransportError:
            return 0

    assert {await read("quote/5") for _ in range(20)} == {422}
    found = [await read("quote/6") for _ in range(200)]
    assert {0, 404, 429, 500, 503} == set(found)
    assert 60 < sum(status != 404 for status in found) < 140


async def test_the_configuration_of_a_run_is_one_that_the_product_reads(tmp_path: Path) -> None:
    async with subscribing([Habit(name="some", types=("job",), live_secrets=2)], seed=1) as subscribers:
        site = build_site(
            tmp_path,
            servers="127.0.0.1:1",
            store_url="sqlite+aiosqlite:///store.db",
            api_url="http://127.0.0.1:2",
            passwords={"acme": "opens"},
            subscribers=subscribers,
            pace=QUICK,
        )
    settings = read_settings(site.config)
    some = settings.sinks.forward["some"]
    assert (some.types, some.allow_private, some.url) == (("job",), True, subscribers[0].url)
    assert some.secret.reveal().split() == list(subscribers[0].secrets)
    assert settings.accounts["acme"].password.reveal() == "opens"
