"""The judgements of the doctor, each by itself: what is seen, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from doctor.checks_cluster import clock_finding, cluster_findings, release_of
from doctor.checks_groups import group_findings
from doctor.checks_secrets import file_findings, hook_findings, readers_of, weakness_of
from doctor.checks_subscriptions import subscription_findings, untold
from doctor.checks_topics import TopicWanted, topic_findings
from doctor.finding import BROKER, Finding, State, any_failed
from runtime.kafka.described import Broker, Cluster, PartitionSeen, TopicSeen
from runtime.secret_file import new_secret
from schemas.topics import FOR_EVER_MS, RULES, WEBHOOKS
from servicetrade.hook_events import ACTIONS, Events, all_types, events_about
from servicetrade.hook_url import read_base
from servicetrade.subscription_plan import Hook, Owner
from tests.doctor.examining import FAILED, NOT_CHECKED, OK, WARNING
from views.status_data import CutOff, Stage

DAY_MS = 86_400_000


def said(findings: list[Finding]) -> list[tuple[State, str]]:
    return [(one.state, one.what) for one in findings]


# -- findings ------------------------------------------------------------------------------------------------------


def test_only_a_failure_counts_as_one_and_a_subject_is_not_said_twice() -> None:
    fine = [BROKER.ok("a", "b"), BROKER.warning("a", "b", "c"), BROKER.not_checked("a", "b")]
    assert not any_failed(fine)
    failed = BROKER.failed("store.url", "store.url: is not there", "look")
    assert any_failed([*fine, failed])
    assert failed.what == "is not there"


# -- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "folders", "readers"),
    [
        (0o100600, [0o755, 0o755], ""),
        (0o100644, [0o755, 0o755], "everybody on this machine"),
        (0o100604, [0o755], "everybody on this machine"),
        (0o100640, [0o755], "its group"),
        (0o100644, [0o755, 0o700, 0o755], ""),
        (0o100644, [0o750, 0o755], "its group"),
        (0o100604, [0o750, 0o755], ""),
        (0o100440, [0o751], "its group"),
        (0o100400, [], ""),
    ],
)
def test_a_file_can_be_read_by_those_who_get_to_it(mode: int, folders: list[int], readers: str) -> None:
    assert readers_of(mode, folders) == readers


def test_a_file_that_is_mounted_read_only_is_as_it_should_be_whatever_its_mode() -> None:
    """As a container's secrets are: `chmod 600` would lock the container's user out."""
    for mounted, states in ((False, [WARNING]), (True, [])):
        found = file_findings("/run/secrets/hook", ["k"], 0o100444, [0o755, 0o755], mounted=mounted)
        assert [one.state for one in found] == states


@pytest.mark.parametrize(
    ("secret", "weakness"),
    [
        ("winter-7f3a-0123456", "19 characters, and 22 random ones hold 128 bits"),
        ("a" * 40, "only 1 different characters"),
        ("0123456789-0123456789-0123456789", ""),
        ("qYv3mX0d-Lr7Kc2_Tn8Zb5Wf1Hs4Jg6P", ""),
    ],
)
def test_a_secret_that_is_short_or_monotonous_may_be_guessed(secret: str, weakness: str) -> None:
    assert weakness_of(secret) == weakness


def test_hook_secrets_are_each_accounts_own_and_no_password() -> None:
    one, two, three = new_secret(), new_secret(), new_secret()
    assert list(hook_findings({"acme": [one, two], "bolt": [three]}, {"acme": "p", "bolt": "q"})) == []
    found = list(hook_findings({"acme": [one, two], "bolt": [three], "crew": [one]}, {"acme": "p", "bolt": three}))
    assert [(one.subject, one.state, one.what.split(":")[0]) for one in found] == [
        ("accounts.bolt.hook_secret", WARNING, "is the account's password"),
        ("accounts.acme.hook_secret", WARNING, "one secret for acme, crew"),
    ]
    again = list(hook_findings({"acme": ["a" * 30, "b" * 30, one], "bolt": ["a" * 30, "b" * 30]}, {}))
    assert len(again) == len({(finding.subject, finding.what) for finding in again}) == 3
    assert found[1].do.endswith(": accounts.crew.hook_secret")
    assert not [secret for secret in (one, two, three) for finding in found if secret in finding.what + finding.do]


# -- cluster -------------------------------------------------------------------------------------------------------


def cluster(brokers: int, versions: dict[int, int] | None = None) -> Cluster:
    nodes = [Broker(id=number, address=f"kafka-{number}:9092") for number in range(brokers)]
    return Cluster(brokers=nodes, versions={1: 16} if versions is None else versions)


@pytest.mark.parametrize(
    ("versions", "release"),
    [
        ({1: 18, 2: 11, 35: 5}, "4.3"),
        ({1: 18, 2: 11, 35: 4}, "4.2"),
        ({1: 18, 2: 10}, "4.1"),
        ({1: 17, 2: 10}, "4.0"),
        ({1: 17, 2: 9}, "3.9"),
        ({0: 11, 1: 16}, "3.8"),
        ({0: 10, 1: 16}, "3.7"),
        ({1: 15}, "3.5"),
        ({1: 14}, "3.1"),
        ({1: 12}, "2.7"),
        ({1: 11}, "2.1"),
        ({1: 9}, ""),
        ({}, ""),
    ],
)
def test_a_release_is_the_oldest_that_speaks_these_versions(versions: dict[int, int], release: str) -> None:
    assert release_of(versions) == release


@pytest.mark.parametrize(
    ("brokers", "copies", "state", "told"),
    [
        (1, 1, OK, "no second copy of anything"),
        (3, 3, OK, "kafka.replication_factor is 3, 3 brokers"),
        (1, 3, FAILED, "but there is 1 broker: no topic can be made so"),
        (2, 3, FAILED, "but there are 2 brokers: no topic can be made so"),
        (3, 1, WARNING, "takes the only copy of webhooks with it"),
    ],
)
def test_there_have_to_be_as_many_brokers_as_copies(brokers: int, copies: int, state: State, told: str) -> None:
    _, release, replication = cluster_findings(cluster(brokers), "kafka:9092", copies)
    assert (release.state, replication.state) == (OK, state)
    assert told in replication.what


def test_a_release_that_is_too_old_fails_and_one_that_is_not_told_is_not_judged() -> None:
    assert cluster_findings(cluster(1, {1: 9}), "kafka:9092", 1)[1].state is FAILED
    assert cluster_findings(cluster(1, {}), "kafka:9092", 1)[1].state is NOT_CHECKED


@pytest.mark.parametrize(
    ("last_append_ms", "state"), [(None, NOT_CHECKED), (10_000, OK), (61_000, OK), (63_000, WARNING)]
)
def test_only_a_clock_that_is_ahead_can_be_told(last_append_ms: int | None, state: State) -> None:
    assert clock_finding(last_append_ms, 60_000).state is state


def test_a_clock_that_is_ahead_is_told_with_how_far() -> None:
    assert clock_finding(360_000, 60_000).what.startswith("a record was stamped 5 min ahead of this machine's clock")


# -- topics --------------------------------------------------------------------------------------------------------

WANTED = TopicWanted(
    topic=WEBHOOKS,
    name="my.servicetrade.webhooks",
    config={
        "cleanup.policy": "delete",
        "retention.ms": str(90 * DAY_MS),
        "max.message.bytes": "16000000",
        "min.insync.replicas": "2",
        "message.timestamp.type": "LogAppendTime",
    },
    replication_factor=3,
    restore_ms=1_800_000,
    servers="kafka:9092",
)
HELD_FOR_EVER = replace(WANTED, topic=RULES, config={**WANTED.config, "retention.ms": str(FOR_EVER_MS)})


def seen(*, count: int = 12, first: dict[str, int] | None = None, **config: str) -> TopicSeen:
    """As wanted, but for what is said; `first` is the first partition, an underscore in a key a dot."""
    usual = {"leader": 1, "replicas": 3, "in_sync": 3}
    partitions = [PartitionSeen(number=0, **{**usual, **(first or {})})]
    partitions += [PartitionSeen(number=number, **usual) for number in range(1, count)]
    changed = {name.replace("_", "."): value for name, value in config.items()}
    return TopicSeen(partitions=partitions, config={**WANTED.config, "retention.bytes": "-1", **changed})


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (seen(), OK, "12 partitions, kept for 90 d"),
        (seen(retention_ms="-1"), OK, "12 partitions, kept for ever"),
        (seen(max_message_bytes="99000000"), OK, "12 partitions"),
        (None, FAILED, "is not there"),
        (seen(count=6), FAILED, "has 6 partitions, not 12: keys are on other partitions"),
        (seen(first={"leader": -1}), FAILED, "partition 0 has no leader"),
        (seen(first={"in_sync": 1}), FAILED, "partition 0 has fewer copies in sync than min.insync.replicas (2)"),
        (seen(first={"in_sync": 2}), WARNING, "partition 0 has copies that are not in sync"),
        (seen(first={"replicas": 1, "in_sync": 1}), FAILED, "min.insync.replicas is 2, with 1 copy of each record"),
        (seen(min_insync_replicas="3"), WARNING, "as many as there are copies: one broker that is away stops all"),
        (seen(min_insync_replicas="1"), WARNING, "min.insync.replicas is 1, not 2: what is acknowledged may be lost"),
        (seen(message_timestamp_type="CreateTime"), FAILED, "is CreateTime, not LogAppendTime: windows open and close"),
        (seen(cleanup_policy="compact,delete"), FAILED, "of each key only the newest record stays"),
        (seen(max_message_bytes="1048588"), FAILED, "below 16000000: large records are refused"),
        (seen(retention_ms=str(DAY_MS)), WARNING, "(for 1 d), shorter than kafka.retention_days: webhooks older than"),
        (seen(retention_ms="3599999"), FAILED, "below 1 h: the processors may not find what they need"),
        (seen(retention_bytes="1000"), WARNING, "a full partition loses its oldest records"),
        (replace(seen(), config={}, config_unread="not authorized"), WARNING, "cannot be read: not authorized"),
    ],
)
def test_a_topic_is_judged_by_what_comes_of_it(found: TopicSeen | None, state: State, told: str) -> None:
    (finding,) = topic_findings(WANTED, found)
    assert finding.state is state
    assert told in finding.what
    assert bool(finding.do) == (state is not OK)


def test_a_topic_with_fewer_copies_than_configured_is_told() -> None:
    two = TopicSeen(partitions=[PartitionSeen(number=0, leader=1, replicas=2, in_sync=2)] * 12, config=seen().config)
    assert said(topic_findings(WANTED, two)) == [
        (WARNING, "2 copies of each record, and kafka.replication_factor is 3"),
    ]


def test_what_has_to_be_kept_for_ever_is_told_if_it_is_not() -> None:
    one = PartitionSeen(number=0, leader=1, replicas=3, in_sync=3)
    short = TopicSeen(partitions=[one], config=seen(retention_ms=str(90 * DAY_MS)).config)
    (finding,) = topic_findings(HELD_FOR_EVER, short)
    assert finding.state is WARNING
    assert "the topic should be kept for ever: a replay or a restart cannot know the rules of then" in finding.what
    assert finding.do.endswith("--add-config retention.ms=-1")


# -- groups --------------------------------------------------------------------------------------------------------


def stage(name: str = "mirror", **changed: Any) -> Stage:
    known = {"lag_records": 0, "oldest_ms": None, "members": 1, "started": True, **changed}
    return Stage(name=name, topic="servicetrade.changes", group=f"tradewind-{name}", **known)


CUT = [CutOff(partition=3, end=7, committed=9)]


@pytest.mark.parametrize(
    ("one", "asked_for", "state", "told", "do"),
    [
        (stage(lag_records=3), False, OK, "1 worker, 3 records to do", ""),
        (stage(members=0), False, WARNING, "nobody works (group tradewind-mirror)", "`tradewind sink mirror`"),
        (stage(members=0, started=False), False, OK, "never ran; if it is wanted: `tradewind sink mirror`", ""),
        (stage("custom/crm", members=0, started=False), True, WARNING, "nobody", "`tradewind sink custom crm`"),
        (stage("processors", members=0, lag_records=1), True, WARNING, "with 1 record to do", "`tradewind processors`"),
        (stage("processors", lost_records=2), True, FAILED, "2 records of", "processors --accept-loss"),
        (stage("mirror", lost_records=1), False, FAILED, "1 record of", "`tradewind mirror backfill`"),
        (stage("forward/crm", lost_records=1), True, FAILED, "before forward/crm did", "`tradewind replay`"),
        (stage("command", lost_records=1), False, FAILED, "lost to retention", "ask for these commands anew"),
        (stage("processors", cut_off=CUT), True, FAILED, "[3] ends at 7, but 9 is committed: ", "kafka.log_epoch"),
        (stage(cut_off=CUT * 3), False, FAILED, "and 2 other partitions likewise", "--to-earliest"),
    ],
)
def test_a_stage_is_judged_by_who_works_and_by_what_the_log_still_holds(
    one: Stage, asked_for: bool, state: State, told: str, do: str
) -> None:
    (finding,) = group_findings(one, asked_for=asked_for)
    assert finding.state is state
    assert told in finding.what
    assert do in finding.do


# -- subscriptions -------------------------------------------------------------------------------------------------

OLD, NEW, GONE = "old-secret-0123456789", "new-secret-0123456789", "gone-secret-0123456789"
OWNER = Owner(base=read_base("https://hooks.example.com"), account="acme", secrets=(OLD, NEW))
TYPES = all_types({})
EVERY_TYPE = frozenset(
    (one.code, action) for one in TYPES.values() if one.code and one.sends_webhooks for action in ACTIONS
)


def hook(number: int, secret: str, *, enabled: bool = True, events: Events = None) -> Hook:
    url = OWNER.base.url("acme", secret)
    return Hook(id=number, url=url, enabled=enabled, include_changesets=True, events=events)


FOREIGN = replace(hook(9, NEW), url="https://other.example.com/webhooks/acme/x")


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        ([hook(1, NEW), FOREIGN], [(OK, "webhook 1 tells of everything, with changesets")]),
        ([], [(FAILED, "no webhook leads to https://hooks.example.com/webhooks/acme/… with a live secret")]),
        ([FOREIGN], [(FAILED, "no webhook leads to")]),
        ([hook(1, NEW, enabled=False)], [(FAILED, "webhook 1 is disabled: nothing comes")]),
        ([hook(1, OLD)], [(WARNING, "webhook 1 leads to the old secret: it works until that is retired")]),
        ([hook(1, OLD, enabled=False)], [(FAILED, "no webhook leads to")]),
        ([hook(1, OLD), hook(2, NEW)], [(OK, "webhook 2"), (WARNING, "1 webhook (1) leads to the old secret as well")]),
        (
            [hook(1, GONE)],
            [(FAILED, "no webhook"), (WARNING, "1 webhook (1) leads to a secret that ingest does not k")],
        ),
        ([hook(1, NEW), hook(2, GONE, enabled=False)], [(OK, "webhook 1")]),
        (
            [hook(1, NEW), hook(2, NEW), hook(3, NEW)],
            [(OK, "webhook 1"), (WARNING, "2 webhooks (2, 3) lead on the same URL: every webhook comes 3 times")],
        ),
        (
            [hook(1, NEW, events=events_about(["job"], TYPES))],
            [(WARNING, "webhook 1 tells of job, with changesets; not of ")],
        ),
    ],
)
def test_an_account_is_judged_by_what_arrives(hooks: list[Hook], expected: list[tuple[State, str]]) -> None:
    found = subscription_findings(OWNER, hooks, TYPES)
    assert [one.state for one in found] == [state for state, _ in expected]
    for one, (state, told) in zip(found, expected, strict=True):
        assert told in one.what
        assert state is OK or "`tradewind subscribe acme`" in one.do
        assert not [secret for secret in (OLD, NEW, GONE) if secret in one.what + one.do]


def test_what_a_webhook_leaves_out_is_named_by_type_and_action() -> None:
    assert untold(None, TYPES) == ""
    assert untold(EVERY_TYPE, TYPES) == "attachment, clockevent, invoice, quoteitem"
    assert untold(EVERY_TYPE - {(3, "deleted")}, TYPES).startswith("job (deleted), attachment")
