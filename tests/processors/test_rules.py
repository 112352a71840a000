"""Rules: what is refused and with which words, and what the filter keeps."""

from __future__ import annotations

from typing import Any

import pytest

from processors.notification import Notification
from processors.rules import EntityRule, builtin_rules, read_rules, rules_version
from schemas.change import Action

LARGEST_MS = 300_000


def read(default: Any) -> EntityRule:
    return read_rules({"default": default, "types": {}}, max_ceiling_ms=LARGEST_MS).default


def notification(
    action: Action = "updated", *, user: int | None = 1, fields: tuple[str, ...] = (), complete: bool = True
) -> Notification:
    return Notification(0, "job", 1, action, 0, user, tuple((name, 0, 1) for name in fields), complete)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ([], "default is an object"),
        ({"quite_ms": 5}, "default.quite_ms: unknown key; known: actions, ceiling_ms, fields, ignore_users"),
        ({"actions": "updated"}, "default.actions is an array of str"),
        ({"actions": [1]}, "default.actions is an array of str"),
        ({"actions": ["renamed"]}, "default.actions holds created, updated, deleted"),
        ({"fields": {"status": True}}, "default.fields is an array of str"),
        ({"fields": [None]}, "default.fields is an array of str"),
        ({"ignore_users": 7}, "default.ignore_users is an array of int"),
        ({"ignore_users": ["7"]}, "default.ignore_users is an array of int"),
        ({"ignore_users": [True]}, "default.ignore_users is an array of int"),
        ({"keep": "no"}, "default.keep is true or false"),
        ({"keep": None}, "default.keep is true or false"),
        ({"quiet_ms": 1.5}, "default: quiet_ms and ceiling_ms are integers"),
        ({"quiet_ms": True}, "default: quiet_ms and ceiling_ms are integers"),
        ({"ceiling_ms": "30"}, "default: quiet_ms and ceiling_ms are integers"),
        ({"quiet_ms": 0}, "default: 0 < quiet_ms <= ceiling_ms <= 300000 does not hold"),
        ({"quiet_ms": 50, "ceiling_ms": 49}, "default: 0 < quiet_ms <= ceiling_ms <= 300000 does not hold"),
        ({"ceiling_ms": 300_001}, "default: 0 < quiet_ms <= ceiling_ms <= 300000 does not hold"),
    ],
)
def test_a_bad_rule_is_refused_with_the_key_that_is_wrong(rule: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"^default") as caught:
        read(rule)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("resolved", [None, [], 7, {}, {"default": {}}, {"default": {}, "types": {}, "more": 1}])
def test_rules_are_an_object_with_exactly_default_and_types(resolved: Any) -> None:
    with pytest.raises(ValueError, match="default and types"):
        read_rules(resolved, max_ceiling_ms=LARGEST_MS)


def test_types_is_an_object_of_rules() -> None:
    with pytest.raises(ValueError, match=r"^types is an object"):
        read_rules({"default": {}, "types": []}, max_ceiling_ms=LARGEST_MS)
    with pytest.raises(ValueError, match=r"^types\.job\.keep is true or false"):
        read_rules({"default": {}, "types": {"job": {"keep": 0}}}, max_ceiling_ms=LARGEST_MS)


def test_what_a_rule_does_not_say_is_as_built_in() -> None:
    assert read({}) == EntityRule() == builtin_rules(300_000).of("anything")
    assert (EntityRule().quiet_ms, EntityRule().ceiling_ms) == (2_000, 30_000)
    assert read({"actions": None, "fields": None}) == EntityRule()


def test_a_type_has_its_own_rule_or_the_default() -> None:
    rules = read_rules({"default": {"keep": False}, "types": {"job": {}}}, max_ceiling_ms=LARGEST_MS)
    assert (rules.of("job").keep, rules.of("invoice").keep) == (True, False)


def test_the_version_depends_on_the_rules_and_not_on_the_order_of_their_keys() -> None:
    one = {"default": {"quiet_ms": 1, "ceiling_ms": 2}, "types": {}}
    same = {"types": {}, "default": {"ceiling_ms": 2, "quiet_ms": 1}}
    assert rules_version(one) == rules_version(same) == read_rules(one, max_ceiling_ms=9).version
    assert rules_version(one) != rules_version({**one, "types": {"job": {}}})
    assert len(rules_version(one)) == 16
    assert builtin_rules(300_000).version == "builtin"
    assert builtin_rules(500).of("job") == EntityRule(quiet_ms=500, ceiling_ms=500)


@pytest.mark.parametrize(
    ("rule", "given", "kept"),
    [
        ({}, notification(), True),
        ({"keep": False}, notification(), False),
        ({"ignore_users": [1]}, notification(user=1), False),
        ({"ignore_users": [1]}, notification(user=2), True),
        ({"ignore_users": [1]}, notification(user=None), True),
        ({"ignore_users": []}, notification(), True),
        ({"actions": ["deleted"]}, notification("deleted"), True),
        ({"actions": ["deleted"]}, notification("updated"), False),
        ({"actions": []}, notification("created"), False),
        ({"fields": ["status"]}, notification(fields=("status", "due")), True),
        ({"fields": ["status"]}, notification(fields=("due",)), False),
        ({"fields": []}, notification(fields=("due",)), False),
        ({"fields": ["status"]}, notification(fields=("due",), complete=False), True),
        ({"fields": ["status"]}, notification("created", fields=("due",)), True),
        ({"fields": ["status"]}, notification("deleted"), True),
        ({"fields": ["status"], "actions": ["created"]}, notification(fields=("status",)), False),
        ({"fields": ["status"], "ignore_users": [1]}, notification(fields=("status",)), False),
    ],
)
def test_the_filter_keeps(rule: Any, given: Notification, kept: bool) -> None:
    assert read(rule).keeps(given) is kept
