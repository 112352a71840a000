"""What `tradewind status` reads from Kafka, from the store and from the processes, each on the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan import OPTIONAL, make_plan
from runtime.broker import running_broker
from runtime.database import open_database
from runtime.kafka import GroupConsumer, KafkaError, Partition, acknowledged
from runtime.kafka.members import group_members, members_in
from runtime.metrics import render
from runtime.ops import Status, ops_server
from runtime.settings import AccountSettings, KafkaSettings, ProcessorsSettings, Settings, StoreSettings
from runtime.sink_settings import CustomSettings, SinksSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.deadletter import Resolution
from schemas.errors import SettingsError, StoreError
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, WEBHOOKS
from servicetrade.session_store import SessionStore
from sinks.parking_store import Halts, ParkingStore, Place
from tests.processors.pipeline import committing, removed_before
from tests.sinks.letter_making import Office, letter_record, reason, resolution_record
from views.status_data import METRICS, OPEN_WINDOWS, CutOff, Halted, Process, Stage
from views.status_letters import LettersReader, OpenLetterCount
from views.status_ops import Target, addresses_of, ask, configured_targets, each_process, read_metrics, read_targets
from views.status_stages import FlowReader, groups_of, progress_of
from views.status_store import read_store

pytestmark = pytest.mark.anyio

UNUSED = StoreSettings(url="sqlite+aiosqlite:///of-no-use.db", key=Secret("of-no-use"))
SINKS = SinksSettings(custom={"mine": CustomSettings(deliver="a:b", group="my-group")})


def settings_of(kafka: KafkaSettings, store: StoreSettings = UNUSED) -> Settings:
    accounts = {
        name: AccountSettings(username="api", password=Secret("right"), hook_secret=Secret("of-no-use-in-this-test"))
        for name in ("acme", "bolt")
    }
    return Settings(kafka=kafka, store=store, accounts=accounts, sinks=SINKS)


# -- stages --------------------------------------------------------------------------------------------------------


def test_every_stage_of_the_configuration_has_its_group(kafka: KafkaSettings) -> None:
    found = {group.stage: (group.topic, group.name) for group in groups_of(settings_of(kafka))}
    assert found == {
        "processors": ("servicetrade.webhooks", "tradewind-processors"),
        "mirror": ("servicetrade.changes", "tradewind-mirror"),
        "custom/mine": ("servicetrade.changes", "my-group"),
        "command": ("servicetrade.commands", "tradewind-command"),
    }


@asynccontextmanager
async def member(office: Office, group: str) -> AsyncIterator[GroupConsumer]:
    opening = GroupConsumer.open(
        office.kafka, topic=office.name(CHANGES), group=group, instance=None, session_timeout_s=6
    )
    async with opening as consumer, asyncio.timeout(60):
        while not consumer.assignment():
            await consumer.read(wait_s=0.1, at_most=1)
        yield consumer


async def test_lag_is_counted_in_records_and_from_the_time_of_the_first_that_is_not_done(office: Office) -> None:
    # Groups belong to the broker, not to a prefix: this test's own is the custom sink's.
    topic, group = office.name(CHANGES), f"{office.kafka.topic_prefix}mine"
    places = [
        await acknowledged(await office.producer.send(topic, key=b"k", value=b"{}", partition=0)) for _ in range(5)
    ]
    await acknowledged(await office.producer.send(office.name(WEBHOOKS), key=b"acme", value=b"{}"))
    sinks = SinksSettings(custom={"mine": CustomSettings(deliver="a:b", group=group)})
    settings = Settings(kafka=office.kafka, store=UNUSED, accounts=settings_of(office.kafka).accounts, sinks=sinks)
    reader = FlowReader(settings)

    async def stage() -> Stage:
        return next(one for one in (await reader.read()).stages if one.name == "custom/mine")

    times = [record.timestamp for record in await office.records(CHANGES)]
    never = await stage()
    assert (never.lag_records, never.oldest_ms, never.members, never.started) == (5, times[0], 0, False)
    async with member(office, group) as consumer:
        assert await consumer.commit({places[0].partition: 3, Partition(topic, 1): 0})
        working = await stage()
        assert (working.lag_records, working.oldest_ms, working.members, working.started) == (2, times[3], 1, True)
        assert await consumer.commit({places[0].partition: 5})
        done = await stage()
        assert (done.lag_records, done.oldest_ms) == (0, None)
    flow = await reader.read()
    (webhook,) = await office.records(WEBHOOKS)
    assert flow.last_append_ms == webhook.timestamp
    assert next(one for one in flow.stages if one.name == "custom/mine").members == 0


async def test_what_is_no_longer_there_is_told_as_lost_or_cut_off_and_is_no_lag(office: Office) -> None:
    topic, group = office.name(CHANGES), f"{office.kafka.topic_prefix}mine"
    first, second = Partition(topic, 0), Partition(topic, 1)
    for number in (0, 0, 0, 0, 0, 1):
        await acknowledged(await office.producer.send(topic, key=b"k", value=b"{}", partition=number))
    sinks = SinksSettings(custom={"mine": CustomSettings(deliver="a:b", group=group)})
    settings = Settings(kafka=office.kafka, store=UNUSED, accounts=settings_of(office.kafka).accounts, sinks=sinks)
    times = [record.timestamp for record in await office.records(CHANGES) if record.partition == 0]
    async with committing(office.kafka, group) as commit:
        await commit({first: 1, second: 9})
    await removed_before(office.kafka, first, 3)
    stage = next(one for one in (await FlowReader(settings).read()).stages if one.name == "custom/mine")
    assert (stage.lag_records, stage.oldest_ms, stage.lost_records) == (2, times[3], 2)
    assert stage.cut_off == (CutOff(partition=1, end=1, committed=9),)
    assert stage.started


@given(
    st.dictionaries(st.integers(0, 3), st.integers(0, 9)),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted), max_size=4),
)
def test_every_record_is_done_or_lag_or_lost_or_cut_off(committed: dict[int, int], logs: list[list[int]]) -> None:
    log = {Partition("t", number): (beginning, end) for number, (beginning, end) in enumerate(logs)}
    found = progress_of({Partition("t", number): at for number, at in committed.items()}, log)
    cut = {one.partition: one for one in found.cut_off}
    lost = 0
    for one, (beginning, end) in log.items():
        done = committed.get(one.number, beginning)
        lost += len(range(done, beginning))
        assert (one.number in cut) == (done > end)
        assert found.firsts.get(one) == next((offset for offset in range(beginning, end) if offset >= done), None)
    assert found.lost == lost


def test_a_broker_that_cannot_tell_who_works_is_not_taken_to_say_nobody() -> None:
    assert members_in((0, "mine", "Stable", "consumer", "range", ["one", "two"])) == 2
    assert members_in((0, "mine", "Dead", "", "", [], -1)) == 0
    with pytest.raises(KafkaError, match=r"GroupLoadInProgressError: the members of mine are not known") as loading:
        members_in((14, "mine", "", "", "", []))
    assert loading.value.retriable


async def test_a_new_broker_is_given_the_time_to_find_out_who_coordinates(tmp_path: Path) -> None:
    with running_broker(tmp_path / "kafka") as running:
        assert await group_members(KafkaSettings(bootstrap_servers=running.bootstrap_servers), ["mine"]) == {"mine": 0}


async def test_topics_that_are_not_there_are_said(kafka: KafkaSettings) -> None:
    with pytest.raises(KafkaError, match="run `tradewind topics`"):
        await FlowReader(settings_of(kafka)).read()
    with pytest.raises(KafkaError, match="run `tradewind topics`"):
        await LettersReader(kafka).read()


# -- dead letters --------------------------------------------------------------------------------------------------


async def test_open_letters_are_counted_by_stage_and_account_and_later_only_what_was_added(office: Office) -> None:
    reader = LettersReader(office.kafka)
    first = await office.bury(key=b"acme/job/1")
    await office.bury(key=b"acme/job/2")
    await office.bury(key=b"bolt", stage="processors", of=WEBHOOKS)
    found = await reader.read()
    assert (found.counts, found.total) == ({"mirror": {"acme": 2}, "processors": {"bolt": 1}}, 3)
    headers = Resolution(what="redriven", offset=first.offset).headers()
    topic = office.name(DEADLETTERS)
    sent = office.producer.send(topic, key=b"acme/job/1", value=b"", headers=headers, partition=first.partition)
    await acknowledged(await sent)
    again = await reader.read()
    assert (again.counts, again.unread_records) == ({"mirror": {"acme": 1}, "processors": {"bolt": 1}}, 0)


def test_what_retention_removed_is_open_no_more_and_what_is_no_letter_counts_as_nothing() -> None:
    count = OpenLetterCount()
    count.put([letter_record(reason(), offset=number) for number in range(4)])
    count.put([LogRecord(partition=1, offset=4, timestamp=1, key=b"k"), resolution_record("dropped", 3, offset=5)])
    assert count.counts() == {"mirror": {"acme": 3}}
    count.forget_before(1, 2)
    assert count.counts() == {"mirror": {"acme": 1}}


# -- the store -----------------------------------------------------------------------------------------------------


def record(offset: int, key: str) -> LogRecord:
    return LogRecord(topic="servicetrade.changes", offset=offset, timestamp=1, key=key.encode(), value=b"{}")


async def test_what_is_put_aside_who_is_halted_and_every_session_is_read(
    kafka: KafkaSettings, store_settings: StoreSettings
) -> None:
    settings = settings_of(kafka, store_settings)
    async with open_database(store_settings) as database:
        await upgrade(database)
        parking = ParkingStore(database, "mirror", "servicetrade.changes")
        whole = [(Place(account="acme"), "acme/job/1", record(number, "acme/job/1")) for number in range(3)]
        alone = [
            (Place(account="acme", key=key), key, record(10 + number, key))
            for number, key in enumerate(("acme/job/7", "acme/job/7", "acme/job/8"))
        ]
        await parking.put([*whole, *alone])
        await Halts(database).halt("forward/crm", "HTTP 410")
        sessions = SessionStore(database, store_settings.key)
        assert await sessions.try_lease("acme", "me", 0, 5) is not None
        right = sessions.fingerprints("api", Secret("right"))
        assert await sessions.record_refusal("acme", "me", right[:1], "Invalid credentials provided", pause_s=0)
    found = await read_store(settings)
    (parked,) = found.parked
    assert (parked.sink, parked.account) == ("mirror", "acme")
    assert (parked.whole_account, parked.entity_records, parked.entities) == (3, 3, 2)
    (halted,) = found.halted
    assert halted == Halted(sink="forward/crm", reason="HTTP 410", since_ms=halted.since_ms)
    acme, bolt = found.sessions
    assert (acme.account, acme.state, acme.refused, acme.reason) == (
        *("acme", "refused", True),
        "Invalid credentials provided",
    )
    assert (bolt.account, bolt.state, bolt.generation, bolt.refused) == ("bolt", "none", 0, False)


async def test_a_store_that_nobody_has_used_is_empty_and_stays_so(
    kafka: KafkaSettings, sqlite_settings: StoreSettings
) -> None:
    settings = settings_of(kafka, sqlite_settings)
    with pytest.raises(StoreError, match="is not there"):
        await read_store(settings)
    async with open_database(sqlite_settings):
        pass
    for _ in range(2):
        found = await read_store(settings)
        assert (found.parked, found.halted, found.sessions) == ((), (), [])


# -- processes -----------------------------------------------------------------------------------------------------


def test_the_configured_ports_on_this_machine_are_asked_unless_others_are_named(kafka: KafkaSettings) -> None:
    found = {target.name: target.address for target in configured_targets(settings_of(kafka), frozenset())}
    assert found["processors"] == "127.0.0.1:9102"
    assert set(found) == {"ingest", "processors", "mirror", "command", "custom/mine", "processors-2"}
    named = read_targets(["ingest:9100", "[::1]:9101", "9102"])
    assert [target.address for target in named] == ["ingest:9100", "[::1]:9101", "127.0.0.1:9102"]


@pytest.mark.parametrize("tables", [frozenset[str](), frozenset(OPTIONAL)], ids=["none", "all"])
@pytest.mark.parametrize("port", [9102, 9101])
def test_all_that_tradewind_up_starts_is_asked_each_port_once(
    kafka: KafkaSettings, tables: frozenset[str], port: int
) -> None:
    settings = replace(settings_of(kafka), processors=ProcessorsSettings(ops_port=port))
    ports = [target.port for target in configured_targets(settings, tables)]
    assert len(ports) == len(set(ports))
    assert set(ports) >= {worker.ops_port for worker in make_plan(settings, tables).workers}


@pytest.mark.parametrize("port", [0, 65_535])
def test_a_port_that_is_none_for_tradewind_up_keeps_nobody_from_looking(kafka: KafkaSettings, port: int) -> None:
    settings = replace(settings_of(kafka), processors=ProcessorsSettings(ops_port=port))
    found = {target.name: target.port for target in configured_targets(settings, frozenset())}
    assert found == {"ingest": 9101, "processors": port, "mirror": 9103, "command": 9104, "custom/mine": 9106}


async def test_a_name_with_several_addresses_is_a_process_at_each() -> None:
    names = {"processors": ["10.0.0.2", "10.0.0.3"], "ingest": ["10.0.0.4"], "six": ["fd00::1", "fd00::2"]}

    async def resolve(host: str) -> list[str]:
        if host not in names:
            raise OSError("no such name")
        return names[host]

    twice = ["processors:9100"] * 2
    named = read_targets(["ingest:9100", *twice, "gone:1", "10.0.0.9:1", "[::1]:2", "six:3"])
    assert [target.address for target in await each_process(named, resolve)] == [
        "ingest:9100",
        "10.0.0.2:9100",
        "10.0.0.3:9100",
        "gone:1",
        "10.0.0.9:1",
        "[::1]:2",
        "[fd00::1]:3",
        "[fd00::2]:3",
    ]


async def test_each_of_several_processes_behind_a_name_is_asked_by_itself() -> None:
    async def resolve(_: str) -> list[str]:
        return ["127.0.0.1", "127.0.0.2"]

    first, second = Status(), Status()
    first.watch(lambda: {"restored": True})
    second.watch(lambda: {"restored": False})
    async with ops_server("127.0.0.1", 0, first) as port, ops_server("127.0.0.2", port, second):
        found = [await ask(target) for target in await each_process(read_targets([f"processors:{port}"]), resolve)]
    assert [(one.address, one.conditions["restored"]) for one in found] == [
        (f"127.0.0.1:{port}", True),
        (f"127.0.0.2:{port}", False),
    ]


async def test_a_name_of_this_machine_is_one_process_though_it_has_an_ipv6_address_too() -> None:
    assert await addresses_of("localhost") == ["127.0.0.1"]
    assert await addresses_of("::1") == ["::1"]
    with pytest.raises(OSError, match=r"."):
        await addresses_of("no such name")
    (nowhere,) = await each_process([Target(name="", host="no such name", port=1)])
    assert (await ask(nowhere)).silent


@pytest.mark.parametrize("address", ["", "host", "host:", "host:http", "host:0", "host:65536"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="--ops: is written HOST:PORT"):
        read_targets([address])


def test_the_metrics_that_are_asked_for_are_those_that_a_process_exports() -> None:
    assert set(read_metrics(render().decode())) == set(METRICS)


async def test_a_process_tells_its_conditions_and_its_metrics() -> None:
    status = Status()
    status.watch(lambda: {"restored": True, "broker": False}, shown=[lambda: {"mirror delivers": True}])
    async with ops_server("127.0.0.1", 0, status, status.shown) as port:
        found = await ask(Target(name="processors", host="127.0.0.1", port=port))
    assert found.silent == ""
    assert found.conditions == {"started": True, "restored": True, "broker": False, "mirror delivers": True}
    assert OPEN_WINDOWS in found.metrics


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stranger(answer: Answer) -> AsyncIterator[Process]:
    """What is told of somebody else who listens on the port."""
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield await ask(Target(name="", host="127.0.0.1", port=port))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"220 mail ready\r\n", "something else answers there"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "something else answers there: HTTP 404"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "something else answers there"),
        (b"HTTP/1.0 200 OK\r\n\r\n[]", "something else answers there"),
        (b"", "something else answers there"),
    ],
)
async def test_somebody_else_on_the_port_is_told_and_nothing_worse(said: bytes, told: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    async with stranger(answer) as found:
        assert told in found.silent


async def test_who_says_nothing_does_not_hold_up_the_rest() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has had enough
        writer.close()

    async with stranger(answer) as found:
        assert found.silent == "no answer within 2 s"
    nobody = await ask(Target(name="mirror", host="127.0.0.1", port=1))
    assert nobody == Process(name="mirror", address="127.0.0.1:1", silent="nobody listens there")
