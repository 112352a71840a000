"""What a replay was asked for, and its note."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.rules import AccountRules, EntityRule, builtin_rules
from replay.given_rules import GivenRules, marked, rules_now
from replay.plan import Note, Plan, read_note, redeliver_to, require_its_settings, shadow_topic, write_note
from rules.history import RulesEntry, RulesLog
from runtime.kafka import Partition
from schemas.errors import SettingsError
from schemas.pipeline import PipelineTimes
from schemas.rules import RulesInForce
from schemas.topics import TOPICS

TIMES = PipelineTimes(horizon_s=3, memory_s=8, max_ceiling_s=2)
PLAN = Plan(
    id="0af3",
    from_ms=1,
    to_ms=2,
    accounts=("acme",),
    types=("job",),
    into="live",
    topic="t",
    times=TIMES,
    log_epoch=1,
)


@pytest.mark.parametrize("is_over", [False, True])
def test_a_note_reads_as_it_was_written(is_over: bool) -> None:
    plan = replace(PLAN, rules="rülez.toml", rules_version="ab", history=7, redeliver="*")
    assert read_note(write_note(Note(plan, is_over))) == Note(plan, is_over)


@pytest.mark.parametrize("text", ["", "7", "{}", '{"plan": {}, "is_over": false}', '{"plan": {"accounts": 1}}', "[]"])
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_note(text)


def test_a_replay_does_not_go_on_under_another_epoch_or_other_times_and_says_what_differs() -> None:
    require_its_settings(read_note(write_note(Note(PLAN, is_over=False))).plan, TIMES, 1)
    with pytest.raises(SettingsError, match=r"0af3 began with kafka\.log_epoch = 1 \(here: 2\): "):
        require_its_settings(PLAN, TIMES, 2)
    other = r"began with pipeline\.memory_s = 8 \(here: 900\), pipeline\.max_ceiling_s = 2 \(here: 2\.5\): "
    with pytest.raises(SettingsError, match=other):
        require_its_settings(PLAN, replace(TIMES, memory_s=900, max_ceiling_s=2.5), 1)


def test_records_say_no_more_than_those_of_the_live_run_unless_they_differ_or_are_to_be_delivered_again() -> None:
    assert PLAN.headers() == []
    assert replace(PLAN, rules="now", redeliver="mirror").headers() == [
        ("tradewind-replay", b"0af3"),
        ("x-redrive-to", b"mirror"),
        ("x-redrives", b"1"),
    ]


def test_a_shadow_is_none_of_the_pipelines_topics() -> None:
    assert shadow_topic("mine", "p.") == "p.mine"
    for topic in TOPICS:
        for name in (topic.name, f"p.{topic.name}"):
            with pytest.raises(ValueError, match="is a topic of the pipeline"):
                shadow_topic(name, "p.")
    for name in ("a b", "ü", "x" * 250, "."):
        with pytest.raises(ValueError, match="is no name of a topic"):
            shadow_topic(name, "")


def test_only_sinks_that_read_changes_can_be_asked_to_deliver_again() -> None:
    assert redeliver_to("all", ("mirror",)) == "*"
    assert redeliver_to("mirror", ("mirror",)) == "mirror"
    with pytest.raises(ValueError, match="no sink 'command' takes changes"):
        redeliver_to("command", ("mirror",))


def entry(offset: int, **rule: object) -> RulesInForce:
    rules = {"default": rule, "types": {}}
    return RulesInForce(account="acme", version="", topic="w", partition=0, offset=offset, rules=rules)


def test_the_rules_of_now_are_the_last_that_the_processors_have_reached_of_what_counts() -> None:
    entries = [entry(3, quiet_ms=3), entry(5, quiet_ms=5), entry(7, quiet_ms=7)]
    log = RulesLog(
        entries={"acme": [RulesEntry(entry=one, reached=one.offset < 7, at_ms=0) for one in entries]},
        positions={},
        homes={"acme": Partition("w", 0), "bolt": Partition("w", 0)},
        beginnings={},
        foreign=0,
    )
    now = rules_now(log, entries, max_ceiling_ms=40_000)
    assert {name: rules.default.quiet_ms for name, rules in now.by_account.items()} == {"acme": 5}
    before = rules_now(log, entries[:1], max_ceiling_ms=40_000)
    assert before.by_account["acme"].default.quiet_ms == 3
    assert now.version != before.version


def test_rules_that_hold_in_a_replay_have_versions_that_no_rules_have_live() -> None:
    rules = AccountRules(version="0123456789abcdef", default=EntityRule(quiet_ms=7))
    assert GivenRules({"acme": rules}).marked() == {"acme": replace(rules, version="replay-0123456789abcdef")}
    assert marked(builtin_rules(300_000)).version == "replay-builtin"


def test_an_account_is_silent_if_nothing_of_it_is_kept() -> None:
    silent = AccountRules(default=EntityRule(keep=False))
    given = GivenRules({"acme": silent, "bolt": AccountRules(), "crew": silent})
    assert given.silent(()) == ["acme", "crew"]
    assert given.silent(("bolt", "crew")) == ["crew"]
