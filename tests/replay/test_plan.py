"""What a replay was asked for, and its note."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.rules import AccountRules, EntityRule
from replay.given_rules import GivenRules, rules_now
from replay.plan import Note, Plan, read_note, redeliver_to, shadow_topic, write_note
from schemas.rules import RulesInForce
from schemas.topics import TOPICS

PLAN = Plan(id="0af3", from_ms=1, to_ms=2, accounts=("acme",), types=("job",), into="live", topic="t")


@pytest.mark.parametrize("is_over", [False, True])
def test_a_note_reads_as_it_was_written(is_over: bool) -> None:
    plan = replace(PLAN, rules="rülez.toml", rules_version="ab", history=7, redeliver="*")
    assert read_note(write_note(Note(plan, is_over))) == Note(plan, is_over)


@pytest.mark.parametrize("text", ["", "7", "{}", '{"plan": {}, "is_over": false}', '{"plan": {"accounts": 1}}', "[]"])
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_note(text)


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


def entry(offset: int, account: str = "acme", topic: str = "w", **rule: object) -> RulesInForce:
    rules = {"default": rule, "types": {}}
    return RulesInForce(account=account, version="", topic=topic, partition=0, offset=offset, rules=rules)


def test_the_rules_of_now_are_those_of_the_highest_position_whatever_the_order_of_their_copies() -> None:
    now = rules_now(
        [entry(5, quiet_ms=5), entry(3, quiet_ms=3), entry(9, topic="old", keep=False)], "w", max_ceiling_ms=40_000
    )
    assert now.by_account["acme"].default.quiet_ms == 5
    assert now.version != rules_now([entry(3, quiet_ms=3)], "w", max_ceiling_ms=40_000).version


def test_an_account_is_silent_if_nothing_of_it_is_kept() -> None:
    silent = AccountRules(default=EntityRule(keep=False))
    given = GivenRules({"acme": silent, "bolt": AccountRules(), "crew": silent})
    assert given.silent(()) == ["acme", "crew"]
    assert given.silent(("bolt", "crew")) == ["crew"]
