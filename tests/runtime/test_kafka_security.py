"""Kafka over TLS and SASL, on a real broker that asks for both and lets nobody do what is not allowed."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from cryptography.fernet import Fernet

from cli.main import app
from runtime.kafka import (
    BatchProducer,
    BrokerRefused,
    GroupConsumer,
    KafkaError,
    LogReader,
    Partition,
    Producer,
    acknowledged,
)
from runtime.kafka.bookmarks import Bookmark, Bookmarks, delete_group, read_bookmarks
from runtime.kafka.members import group_members
from runtime.kafka.topics import committed_offsets, ensure_topics, open_admin, require_topics
from runtime.kafka_settings import KafkaSaslSettings, KafkaTlsSettings, Mechanism, Security
from runtime.settings import KafkaSettings, Settings, read_settings
from runtime.toml_reader import Secret
from schemas.encoding import encode
from schemas.errors import TopicsError, TradewindError
from schemas.topics import CHANGES, COMMANDS, DEADLETTERS, DELIVERIES, RESULTS, RULES, WEBHOOKS, Topic
from sinks.main import Ops, run_command, run_custom
from tests.ingest.running import HOST, free_port, read_all, until
from tests.processors.pipeline import FAUST_LEAVES_ITS_LOOP_OPEN, collect_quietly, job
from tests.runtime.acls import allow, documented
from tests.runtime.secured_broker import KEY_PASSWORD, PASSWORDS, SecuredBroker, secured_broker
from tests.sinks.commanding import command

# aiokafka does not wait for a connection that was refused to be closed.
pytestmark = [pytest.mark.anyio, FAUST_LEAVES_ITS_LOOP_OPEN]

SCRAM: Mechanism = "SCRAM-SHA-512"
FEW = replace(CHANGES, partitions=2)
HOOK_SECRET = "winter-7f3a-0123456"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("secured")) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left_for_the_next_test() -> Iterator[None]:
    yield
    collect_quietly()


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."


def login(user: str = "admin", *, mechanism: Mechanism = SCRAM, password: str | None = None) -> KafkaSaslSettings:
    given = PASSWORDS[user] if password is None else password
    return KafkaSaslSettings(mechanism=mechanism, username=user, password=Secret(given))


def trusting(broker: SecuredBroker, ca: str = "ca.pem") -> KafkaTlsSettings:
    return KafkaTlsSettings(ca_file=broker.file(ca))


def with_certificate(broker: SecuredBroker) -> KafkaTlsSettings:
    return KafkaTlsSettings(
        ca_file=broker.file("ca.pem"),
        cert_file=broker.file("client.pem"),
        key_file=broker.file("client_key_locked.pem"),
        key_password=Secret(KEY_PASSWORD),
    )


def over_sasl_ssl(broker: SecuredBroker, sasl: KafkaSaslSettings, *, prefix: str = "") -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=broker.sasl_ssl,
        security="sasl_ssl",
        tls=trusting(broker),
        sasl=sasl,
        topic_prefix=prefix,
    )


def by_user(broker: SecuredBroker, user: str, mechanism: Mechanism = SCRAM) -> KafkaSettings:
    return over_sasl_ssl(broker, login(user, mechanism=mechanism))


def way(name: str, broker: SecuredBroker) -> KafkaSettings:
    """One of the ways to speak to the broker that work."""
    match name:
        case "a certificate":
            tls = with_certificate(broker)
            return KafkaSettings(bootstrap_servers=broker.ssl, security="ssl", tls=tls)
        case "SCRAM in the clear":
            return KafkaSettings(bootstrap_servers=broker.sasl_plaintext, security="sasl_plaintext", sasl=login())
        case "PLAIN":
            return over_sasl_ssl(broker, login(mechanism="PLAIN"))
        case _:
            return over_sasl_ssl(broker, login())


@pytest.mark.parametrize("name", ["SCRAM", "PLAIN", "a certificate", "SCRAM in the clear"])
async def test_every_client_speaks_to_the_broker_in_every_way(secured: SecuredBroker, prefix: str, name: str) -> None:
    kafka = replace(way(name, secured), topic_prefix=prefix)
    topic, group = prefix + FEW.name, f"{prefix}group"
    assert (await ensure_topics(kafka, [FEW])).created == [topic]
    await require_topics(kafka, [FEW])
    async with Producer.open(kafka, client_id="test") as producer:
        where = await acknowledged(await producer.send(topic, key=b"k", value=b"one"))
        await producer.send_all([(topic, b"k", b"two", ())])
    async with BatchProducer.open(kafka, client_id="test", topic=topic, partitions=FEW.partitions) as batches:
        await batches.connect()
        batch, _ = batches.pack([(b"k", b"three", [])])
        await batches.append(where.partition.number, batch)
    assert [record.value for record in await read_all(kafka, CHANGES.name)] == [b"one", b"two", b"three"]
    async with GroupConsumer.open(kafka, topic=topic, group=group, instance="i", session_timeout_s=6) as member:
        found: list[bytes | None] = []
        async with asyncio.timeout(30):
            while len(found) < 3:
                batch = await member.read(wait_s=0.2, at_most=10)
                found += [record.value for records in batch.values() for record in records]
        assert await member.commit({where.partition: 3})
        assert await group_members(kafka, [group]) == {group: 1}
    assert await committed_offsets(kafka, group) == {where.partition: 3}
    async with Bookmarks.open(kafka, f"{group}-marks") as bookmarks:
        await bookmarks.put({where.partition: Bookmark(2, "note")})
    assert await read_bookmarks(kafka, f"{group}-marks") == {where.partition: Bookmark(2, "note")}
    await delete_group(kafka, f"{group}-marks")


def wrong_way(name: str, broker: SecuredBroker) -> KafkaSettings:
    """One of the ways to speak to the broker that do not work: "to LISTENER by WHAT"."""
    listener, what = name.removeprefix("to ").split(" by ")
    chosen = replace(way("SCRAM", broker), bootstrap_servers=getattr(broker, listener))
    changed: dict[str, Any] = {
        "a wrong password": {"sasl": login(password="wrong")},
        "a wrong PLAIN password": {"sasl": login(mechanism="PLAIN", password="wrong")},
        "SCRAM-SHA-256": {"sasl": login(mechanism="SCRAM-SHA-256")},
        "another CA": {"tls": trusting(broker, "other_ca.pem")},
        "public CAs": {"tls": KafkaTlsSettings()},
        "another name": {"bootstrap_servers": broker.sasl_ssl.replace("localhost", HOST)},
    }
    return replace(chosen, **changed[what]) if what in changed else spoken(chosen, cast("Security", what))


def spoken(kafka: KafkaSettings, security: Security) -> KafkaSettings:
    return replace(
        kafka,
        security=security,
        tls=kafka.tls if security.endswith("ssl") else KafkaTlsSettings(),
        sasl=kafka.sasl if security.startswith("sasl") else None,
    )


REFUSALS = {
    "to sasl_ssl by a wrong password": "refuses the user 'admin' or its SCRAM-SHA-512 password: look at kafka.sasl: ",
    "to sasl_ssl by a wrong PLAIN password": "refuses the user 'admin' or its PLAIN password: look at kafka.sasl: ",
    "to sasl_ssl by SCRAM-SHA-256": "takes no logins with SCRAM-SHA-256, but with PLAIN, SCRAM-SHA-512: look at "
    "kafka.sasl.mechanism",
    "to sasl_ssl by another CA": "shows a certificate that is not to be trusted (self-signed certificate in "
    "certificate chain): look at kafka.tls.ca_file",
    "to sasl_ssl by public CAs": "look at kafka.tls.ca_file",
    "to sasl_ssl by another name": "kafka.bootstrap_servers has to name it as its certificate does",
    "to sasl_ssl by plaintext": 'speaks TLS: kafka.security = "ssl", or another port',
    "to sasl_ssl by sasl_plaintext": 'speaks TLS: kafka.security = "sasl_ssl", or another port',
    "to sasl_ssl by ssl": 'wants a login (PLAIN, SCRAM-SHA-512): kafka.security = "sasl_ssl", and a table [kafka.sasl]',
    "to sasl_plaintext by plaintext": 'wants a login (PLAIN, SCRAM-SHA-512): kafka.security = "sasl_plaintext", and a ',
    "to sasl_plaintext by sasl_ssl": 'does not speak TLS: another port, or kafka.security = "sasl_plaintext"',
    "to plaintext by ssl": 'does not speak TLS: another port, or kafka.security = "plaintext"',
    "to plaintext by sasl_ssl": "does not speak TLS: another port, ",
    "to plaintext by sasl_plaintext": 'takes no logins there: kafka.security = "plaintext", or another port',
    "to ssl by ssl": "breaks TLS off (tlsv13 alert certificate required): look at kafka.tls.cert_file, which it may ",
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_broker_that_answers_but_not_to_this_configuration_is_a_sentence_that_names_it_and_what_to_look_at(
    secured: SecuredBroker, name: str
) -> None:
    kafka = wrong_way(name, secured)
    with pytest.raises(BrokerRefused) as caught:
        async with open_admin(kafka):
            pass
    assert str(caught.value).startswith(f"Kafka at {kafka.bootstrap_servers} ")
    assert REFUSALS[name] in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_refusal_is_told_although_other_brokers_are_away(secured: SecuredBroker) -> None:
    kafka = wrong_way("to sasl_ssl by a wrong password", secured)
    both = replace(kafka, bootstrap_servers=f"{HOST}:1,{kafka.bootstrap_servers}")
    with pytest.raises(BrokerRefused, match=f"^Kafka at {kafka.bootstrap_servers} refuses the user 'admin'"):
        async with open_admin(both):
            pass


async def test_brokers_that_are_away_are_told_one_by_one_and_may_come_back() -> None:
    kafka = KafkaSettings(bootstrap_servers=f"{HOST}:1,nowhere.invalid:9092")
    told = r"127.0.0.1:1 \(nobody listens there\), nowhere.invalid:9092 \(there is no such host\)$"
    with pytest.raises(KafkaError, match=told) as caught:
        async with open_admin(kafka):
            pass
    assert caught.value.retriable


async def test_every_kind_of_client_tells_of_the_refusal(secured: SecuredBroker) -> None:
    kafka = wrong_way("to sasl_ssl by another CA", secured)
    member = GroupConsumer.open(kafka, topic="t", group="g", instance=None, session_timeout_s=6)
    for opening in (
        Producer.open(kafka, client_id="test"),
        LogReader.open(kafka, client_id="test"),
        Bookmarks.open(kafka, "g"),
        member,
    ):
        with pytest.raises(BrokerRefused, match=r"kafka\.tls\.ca_file"):
            await opening.__aenter__()


async def test_a_batch_producer_goes_on_asking_a_broker_that_refuses_it(
    secured: SecuredBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """Ingest spools meanwhile: a password that was changed for others must not cost webhooks."""
    kafka = wrong_way("to sasl_ssl by another CA", secured)
    async with BatchProducer.open(kafka, client_id="test", topic="t", partitions=1) as producer:
        connecting = asyncio.create_task(producer.connect())

        async def told() -> bool:
            return any("kafka.tls.ca_file" in str(vars(record).get("reason")) for record in caplog.records)

        with caplog.at_level(logging.WARNING):
            await until(told)
        assert not connecting.done()
        connecting.cancel()


CONFIG = """
[kafka]
bootstrap_servers = "{broker.sasl_ssl}"
security = "sasl_ssl"
[kafka.tls]
ca_file = "{ca}"
[kafka.sasl]
mechanism = "{mechanism}"
username = "{user}"
password = {{ file = "kafka_password_of_{user}" }}
[store]
url = "sqlite+aiosqlite:///{folder}/store.db"
key = {{ file = "store_key" }}
[servicetrade]
base_url = "http://127.0.0.1:1"
[accounts.acme]
username = "us"
password = {{ file = "password" }}
hook_secret = {{ file = "hook_secret" }}
[ingest]
port = {port}
[processors]
session_timeout_s = 6
[sinks.custom.crm]
deliver = "tests.sinks.custom_functions:note"
[log]
level = "debug"
"""


class Site:
    """A folder with a configuration for each user of Kafka, and the processes that run by them."""

    def __init__(self, folder: Path, broker: SecuredBroker) -> None:
        self.folder = folder
        self.port = free_port()
        self._broker = broker
        secrets = {"store_key": Fernet.generate_key().decode(), "password": "of-no-use", "hook_secret": HOOK_SECRET}
        for name, value in secrets.items():
            (folder / name).write_text(value)

    def config(self, user: str, mechanism: Mechanism = SCRAM, *, password: str | None = None) -> Path:
        (self.folder / f"kafka_password_of_{user}").write_text(password or PASSWORDS[user])
        path, ca = self.folder / f"{user}-{mechanism}.toml", self._broker.file("ca.pem")
        text = CONFIG.format(
            broker=self._broker, ca=ca, mechanism=mechanism, user=user, folder=self.folder, port=self.port
        )
        path.write_text(text)
        return path

    @asynccontextmanager
    async def process(self, config: Path, *line: str) -> AsyncIterator[tuple[Process, int]]:
        """A process as an operator starts it, and its ops port; its output is in a file."""
        ops_port = free_port()
        command = ["-m", "cli.main", *line, "--config", str(config), "--ops-port", str(ops_port)]
        with (self.folder / "output.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=output, stderr=output)
        try:
            yield process, ops_port
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def said(self) -> str:
        """All that the processes wrote."""
        return (self.folder / "output.log").read_text()


PROCESSORS = "processors", "--instance"


async def ready(http: httpx.AsyncClient, ops_port: int) -> bool:
    try:
        return (await http.get(f"http://{HOST}:{ops_port}/readyz")).is_success
    except httpx.TransportError:
        return False


async def outcomes(kafka: KafkaSettings, topic: Topic) -> list[str]:
    return [json.loads(record.value or b"null")["outcome"] for record in await read_all(kafka, topic.name)]


@asynccontextmanager
async def sinks_on(settings: Settings) -> AsyncIterator[None]:
    """The sinks, in this process."""
    stop = asyncio.Event()
    custom, performing = (Ops(instance=name, host=HOST, port=0) for name in ("crm-1", "command-1"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_custom(settings, "crm", custom, stop))
        tasks.create_task(run_command(settings, performing, stop))
        yield
        stop.set()


@pytest.fixture(scope="module")
def allowed(secured: SecuredBroker) -> KafkaSettings:
    """For somebody who sees everything. The others may do what the documentation says, and made the topics so."""
    superuser = KafkaSettings(bootstrap_servers=secured.plaintext)
    asyncio.run(allow(documented(), superuser))
    asyncio.run(ensure_topics(by_user(secured, "tools")))
    return superuser


TOOLS = (
    "topics",
    "audit",
    "deadletters list",
    "tail changes --since 1h --no-follow",
    "replay --from 1h --into shadow",
)


async def use_tools(config: Path, ingest: int) -> None:
    """Each in this process, as the command line would; `ingest` is the port that says how ingest is."""
    for line in (*TOOLS, f"status --ops {HOST}:{ingest}"):
        ended = await asyncio.to_thread(app, [*line.split(), "--config", str(config)], result_action="return_value")
        assert ended == 0, line


async def test_the_pipeline_works_with_what_the_documentation_allows_each_user_and_tells_no_password(
    secured: SecuredBroker, allowed: KafkaSettings, tmp_path: Path
) -> None:
    site = Site(tmp_path, secured)
    async with AsyncExitStack() as stack, httpx.AsyncClient(timeout=20) as http:
        started = [
            await stack.enter_async_context(site.process(site.config("ingest", "PLAIN"), "ingest")),
            await stack.enter_async_context(site.process(site.config("processors", SCRAM), *PROCESSORS, "one")),
            await stack.enter_async_context(site.process(site.config("processors", "PLAIN"), *PROCESSORS, "two")),
        ]
        await stack.enter_async_context(sinks_on(read_settings(site.config("sinks"))))
        for _, ops_port in started:
            await until(lambda ops_port=ops_port: ready(http, ops_port))  # type: ignore[misc]
        url = f"http://{HOST}:{site.port}/webhooks/acme/{HOOK_SECRET}"
        assert (await http.post(url, json={"messageId": "m", "data": [job(7)]})).status_code == 204
        late = command("PUT", "7", {"name": "x"}, not_after=1)
        async with Producer.open(by_user(secured, "tools"), client_id="test") as producer:
            await producer.send_all([(COMMANDS.name, b"acme", encode(late), ())])

        async with LogReader.open(allowed, client_id="test") as reader:

            async def all_done() -> bool:
                ends = [await reader.ends(await reader.partitions(topic.name)) for topic in (DELIVERIES, RESULTS)]
                return all(sum(found.values()) for found in ends)

            await until(all_done)
        assert [await outcomes(allowed, topic) for topic in (DELIVERIES, RESULTS)] == [["delivered"], ["expired"]]
        await use_tools(site.config("tools", "PLAIN"), started[0][1])
        for process, _ in started:
            process.send_signal(signal.SIGTERM)
        assert [await process.wait() for process, _ in started] == [0, 0, 0], site.said()
    assert not [secret for secret in (*PASSWORDS.values(), HOOK_SECRET) if secret in site.said()]


async def test_nobody_gets_what_only_others_need(secured: SecuredBroker, allowed: KafkaSettings) -> None:
    assert allowed
    async with LogReader.open(by_user(secured, "ingest"), client_id="test") as reader:
        for hidden in (CHANGES, DEADLETTERS, COMMANDS, RULES):
            with pytest.raises(UnknownTopicOrPartitionError):
                await reader.partitions(hidden.name)
        with pytest.raises(TopicAuthorizationFailedError):
            async for _ in reader.read(Partition(WEBHOOKS.name, 0), 0, 1):
                pass
    async with Producer.open(by_user(secured, "sinks"), client_id="test") as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await (await producer.send(WEBHOOKS.name, key=b"acme", value=b"forged"))
    with pytest.raises(GroupAuthorizationFailedError):
        await committed_offsets(by_user(secured, "sinks"), "tradewind-processors")
    with pytest.raises(TopicsError, match=f"no topic {CHANGES.name}: run .*, or let this process see it: docs/secur"):
        await require_topics(by_user(secured, "nobody"), [CHANGES])


async def test_processors_that_are_refused_end_with_the_sentence_and_ingest_spools(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    site = Site(tmp_path, secured)
    config = site.config("tools", password="a-wrong-one")
    url = f"http://{HOST}:{site.port}/webhooks/acme/{HOOK_SECRET}"
    async with (
        site.process(config, "ingest") as (ingest, ops_port),
        site.process(config, *PROCESSORS, "one") as (one, _),
        asyncio.timeout(60),
        httpx.AsyncClient(trust_env=False) as http,
    ):

        async def refused_and_ready() -> bool:
            return "broker.refused" in site.said() and await ready(http, ops_port)

        await until(refused_and_ready)
        answer = await http.post(url, content=b'{"messageId": "1", "data": []}')
        spooled = (await http.get(f"http://{HOST}:{ops_port}/metrics")).text
        assert await one.wait() == 2
        ingest.terminate()
        assert await ingest.wait() == 0
    assert answer.status_code == 204
    assert "\ntradewind_spool_webhooks 1.0\n" in spooled
    entries = [json.loads(line) for line in site.said().splitlines()]
    sentence = f"Kafka at {secured.sasl_ssl} refuses the user 'tools'"
    assert [entry["process"] for entry in entries if sentence in str(entry.get("error"))] == ["one"]
    assert any(entry["event"] == "broker.refused" and sentence in entry["reason"] for entry in entries)
    assert "a-wrong-one" not in site.said()


async def test_a_command_that_is_refused_ends_with_the_sentence(secured: SecuredBroker, tmp_path: Path) -> None:
    config = Site(tmp_path, secured).config("tools", password="a-wrong-one")
    with pytest.raises(TradewindError, match=r"refuses the user 'tools' or its .* look at kafka\.sasl"):
        await asyncio.to_thread(app, ["topics", "--config", str(config)], result_action="return_value")
