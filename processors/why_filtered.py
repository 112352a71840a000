"""Pure: says in words what `EntityRule.keeps` decides without a word."""

from __future__ import annotations

from processors.notification import Notification
from processors.rules import AccountRules


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


def _listed(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "empty"
