"""Pure: says in words what `EntityRule.keeps` decides without a word, and what a rule is."""

from __future__ import annotations

from processors.notification import Notification
from processors.rules import AccountRules, EntityRule
from views.story_event import duration


def why_filtered(rules: AccountRules, notification: Notification) -> str | None:
    """Which rule of the account filters the notification; None exactly if its type's rule keeps it."""
    rule = rules.of(notification.entity_type)
    where = place_of_rule(rules, notification.entity_type)
    if not rule.keep:
        return f"{where}.keep is false"
    if notification.user_id in rule.ignore_users:
        return f"{where}.ignore_users holds {notification.user_id}"
    if rule.actions is not None and notification.action not in rule.actions:
        return f"{where}.actions is {_listed(rule.actions)}, without {notification.action}"
    if rule.fields is None or notification.action != "updated" or not notification.changeset_complete:
        return None
    changed = {name for name, _, _ in notification.changeset}
    if changed & rule.fields:
        return None
    return f"{where}.fields is {_listed(rule.fields)}, and {_listed(changed)} changed"


def place_of_rule(rules: AccountRules, entity_type: str) -> str:
    """Where the rule of a type stands in the account's rules: `types.job`, or `default`."""
    return f"types.{entity_type}" if entity_type in rules.types else "default"


def rule_in_words(rule: EntityRule) -> str:
    """The whole rule in a line."""
    if not rule.keep:
        return "everything is filtered"
    words = [f"quiet {duration(rule.quiet_ms)}, ceiling {duration(rule.ceiling_ms)}"]
    if rule.actions is not None:
        words.append(f"only {_listed(rule.actions)}")
    if rule.fields is not None:
        words.append(f"updates only of {_listed(rule.fields)}")
    if rule.ignore_users:
        words.append("nothing by user " + _listed({str(user) for user in rule.ignore_users}))
    return "; ".join(words)


def _listed(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "empty"
