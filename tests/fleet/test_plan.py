"""Which processes `tradewind up` starts, and at which ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.plan import OPTIONAL, Plan, make_plan, tables_in
from runtime.settings import (
    AccountSettings,
    BrokerSettings,
    IngestSettings,
    KafkaSettings,
    ProcessorsSettings,
    Settings,
    StoreSettings,
)
from runtime.sink_settings import CommandSettings, CustomSettings, MirrorSettings, SinksSettings, SubscriberSettings
from runtime.toml_reader import Secret
from schemas.errors import SettingsError

ALL = frozenset(OPTIONAL)
NOTHING = frozenset[str]()
SUBSCRIBER = SubscriberSettings(url="https://crm.example.com/", secret=Secret("whsec_" + "A" * 32))
CRM = CustomSettings(deliver="crm:deliver")
BILLING = CustomSettings(deliver="billing:deliver")


def settings(servers: str = "127.0.0.1:9092", **more: Any) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap_servers=servers),
        store=StoreSettings(url="sqlite+aiosqlite:///store.db", key=Secret("key")),
        accounts={"main": AccountSettings(username="api", password=Secret("p"), hook_secret=Secret("h" * 16))},
        **more,
    )


FULL = settings(sinks=SinksSettings(forward={"billing": SUBSCRIBER}, custom={"crm": CRM}))


def why(plan: Plan) -> dict[str, str]:
    return {one.name: one.why for one in plan.left_out}


def ports(plan: Plan) -> dict[str, int]:
    return {worker.name: worker.ops_port for worker in plan.workers}


def test_all_that_is_configured_is_started_in_the_order_of_the_flow() -> None:
    plan = make_plan(FULL, ALL)
    expected = "broker ingest processors-1 processors-2 mirror-1 command-1 forward-1 custom-crm-1"
    assert plan.names == tuple(expected.split())
    assert not plan.left_out
    commands = {worker.name: " ".join(worker.command) for worker in plan.workers}
    assert commands["processors-2"] == "processors"
    assert commands["mirror-1"] == "sink mirror"
    assert commands["custom-crm-1"] == "sink custom crm"


def test_what_is_not_configured_is_not_started_and_it_is_said_why() -> None:
    plan = make_plan(settings("kafka:9092"), NOTHING, processors=1)
    assert plan.names == ("ingest", "processors-1")
    assert why(plan) == {
        "broker": "the configuration has no [broker]; Kafka is at kafka:9092",
        "mirror": "the configuration has no [sinks.mirror]",
        "command": "the configuration has no [sinks.command]",
        "forward": "the configuration has no [sinks.forward.NAME]",
        "custom": "the configuration has no [sinks.custom.NAME]",
    }


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({}, set()),
        ({"broker": {}, "sinks": {"mirror": {}}, "kafka": {}}, {"broker", "sinks.mirror"}),
        ({"sinks": {"command": {"ops_port": 1}, "forward": {}}}, {"sinks.command"}),
        ({"mirror": {}, "command": {}}, set()),
    ],
)
def test_a_table_says_that_a_process_is_wanted_even_an_empty_one(document: dict[str, Any], found: set[str]) -> None:
    assert tables_in(document) == found


@pytest.mark.parametrize(
    ("servers", "port", "embedded"),
    [
        ("127.0.0.1:9092", 9092, True),
        ("localhost:9092", 9092, True),
        ("127.0.0.1:9093", 9093, True),
        ("127.0.0.1:9092", 9093, False),
        ("kafka.example.com:9092", 9092, False),
        ("127.0.0.1:9092,kafka.example.com:9092", 9092, False),
    ],
)
def test_the_embedded_broker_is_started_only_where_the_configuration_leads_to_it(
    servers: str, port: int, embedded: bool
) -> None:
    plan = make_plan(settings(servers, broker=BrokerSettings(port=port)), ALL)
    assert plan.broker == embedded
    if not embedded:
        expected = f"kafka.bootstrap_servers is {servers}, and [broker] would be at 127.0.0.1:{port}"
        assert why(plan)["broker"] == expected


def test_the_embedded_broker_is_not_started_for_clients_that_want_tls() -> None:
    secured = replace(FULL, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9092", security="ssl"))
    expected = 'kafka.security is "ssl", and [broker] would be plaintext, on loopback'
    assert why(make_plan(secured, ALL))["broker"] == expected


@pytest.mark.parametrize(
    ("sinks", "processors", "expected"),
    [
        # The ports of sinks that are not there are left to them.
        (SinksSettings(), 1, {"ingest": 9101, "processors-1": 9102}),
        (SinksSettings(), 3, {"ingest": 9101, "processors-1": 9102, "processors-2": 9106, "processors-3": 9107}),
        (
            SinksSettings(custom={"crm": CRM, "billing": BILLING}),
            2,
            {
                "ingest": 9101,
                "processors-1": 9102,
                "processors-2": 9107,
                "custom-crm-1": 9106,
                "custom-billing-1": 9108,
            },
        ),
    ],
)
def test_a_process_has_the_configured_port_or_the_next_that_is_meant_for_nobody(
    sinks: SinksSettings, processors: int, expected: dict[str, int]
) -> None:
    assert ports(make_plan(settings(sinks=sinks), NOTHING, processors=processors)) == expected


def test_where_one_port_is_configured_for_all_each_has_its_own() -> None:
    one_for_all = settings(
        ingest=IngestSettings(port=9100, ops_port=9100),
        processors=ProcessorsSettings(ops_port=9100),
        sinks=SinksSettings(mirror=MirrorSettings(ops_port=9100), command=CommandSettings(ops_port=9100)),
        broker=BrokerSettings(port=9101),
    )
    found = ports(make_plan(one_for_all, frozenset({"sinks.mirror"})))
    assert found == {"ingest": 9102, "processors-1": 9103, "processors-2": 9104, "mirror-1": 9106}


def test_the_ports_are_the_same_whatever_else_is_left_out() -> None:
    everything = ports(make_plan(FULL, ALL))
    assert ports(make_plan(FULL, ALL, only=["processors-2", "custom-crm"])) == {
        name: everything[name] for name in ("processors-2", "custom-crm-1")
    }


@pytest.mark.parametrize("port", [0, 65_535])
def test_a_port_that_nothing_can_have_is_refused_with_its_key(port: int) -> None:
    wrong = settings(processors=ProcessorsSettings(ops_port=port))
    with pytest.raises(SettingsError, match=r"processors\.ops_port: processors-\d needs a port from 1 to 65535"):
        make_plan(wrong, NOTHING)


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["processors"], ["processors-1", "processors-2"]),
        (["broker", "ingest"], ["broker", "ingest"]),
        (["mirror-1", "forward"], ["mirror-1", "forward-1"]),
        (["custom-crm"], ["custom-crm-1"]),
    ],
)
def test_only_what_is_named_is_started(only: list[str], names: list[str]) -> None:
    plan = make_plan(FULL, ALL, only=only)
    assert list(plan.names) == names
    assert set(why(plan).values()) == {"not in --only"}


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("mirrow", "--only: there is no 'mirrow' to start; did you mean mirror"),
        ("command", r"--only: command cannot be started: the configuration has no \[sinks.command\]"),
        ("xyz", "there is: broker, ingest, processors"),
    ],
)
def test_a_name_that_means_nothing_is_refused(only: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        make_plan(FULL, frozenset({"broker", "sinks.mirror"}), only=[only])


@pytest.mark.parametrize("processors", [0, 13])
def test_as_many_processors_as_there_are_partitions_can_work(processors: int) -> None:
    with pytest.raises(SettingsError, match="--processors: from 1 to 12"):
        make_plan(FULL, ALL, processors=processors)
