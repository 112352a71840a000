"""Pure: an account's rules: which notifications to keep, and how long to wait for more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from processors.notification import ENTITY_TYPE, MAX_ID, Notification
from schemas.encoding import encode_canonical

BUILTIN_VERSION = "builtin"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRule:
    """What to do with the notifications of one entity type."""

    keep: bool = True
    """False drops every notification of the type."""
    actions: frozenset[str] | None = None
    """Keep only these of created, updated, deleted; None keeps all."""
    fields: frozenset[str] | None = None
    """Keep an update only if its changeset names one of these; an update that does not say what changed is kept."""
    ignore_users: frozenset[int] = frozenset()
    """Drop what these users did: the echoes of one's own API writes."""
    quiet_ms: int = 2_000
    """Silence after which a window closes."""
    ceiling_ms: int = 30_000
    """Longest time a window stays open, however busy its entity."""

    def keeps(self, notification: Notification) -> bool:
        """Whether the notification passes the filter."""
        if not self.keep or notification.user_id in self.ignore_users:
            return False
        if self.actions is not None and notification.action not in self.actions:
            return False
        if self.fields is None or notification.action != "updated" or not notification.changeset_complete:
            return True
        return any(name in self.fields for name, _, _ in notification.changeset)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRules:
    """The resolved rules of one account."""

    version: str = BUILTIN_VERSION
    default: EntityRule = EntityRule()
    types: Mapping[str, EntityRule] = field(default_factory=dict)

    def of(self, entity_type: str) -> EntityRule:
        """The rule for an entity type."""
        return self.types.get(entity_type, self.default)


def builtin_rules(max_ceiling_ms: int) -> AccountRules:
    """In force for an account until its first rules record; a part of the core's version."""
    rule = EntityRule()
    quiet_ms, ceiling_ms = min(rule.quiet_ms, max_ceiling_ms), min(rule.ceiling_ms, max_ceiling_ms)
    return AccountRules(default=EntityRule(quiet_ms=quiet_ms, ceiling_ms=ceiling_ms))


def rules_version(resolved: Mapping[str, Any]) -> str:
    """16 hex digits that differ whenever the resolved rules differ."""
    return hashlib.sha256(encode_canonical(resolved)).hexdigest()[:16]


def read_rules(resolved: Any, *, max_ceiling_ms: int) -> AccountRules:
    """Rules from their resolved JSON form, `{"default": {...}, "types": {"job": {...}}}`.

    Raises:
        ValueError: names the key that is unknown or wrong.
    """
    if not isinstance(resolved, dict) or resolved.keys() != {"default", "types"}:
        raise ValueError("rules are an object with the keys default and types")
    if not isinstance(resolved["types"], dict):
        raise ValueError("types is an object")
    if strange := [name for name in resolved["types"] if not ENTITY_TYPE.fullmatch(name)]:
        raise ValueError(f"types.{strange[0]}: no entity type is spelled so (lower case)")
    default = _entity_rule(resolved["default"], "default", max_ceiling_ms)
    types = {name: _entity_rule(rule, f"types.{name}", max_ceiling_ms) for name, rule in resolved["types"].items()}
    # The version last: only what has the shape of rules is sure to be shallow enough to be written as JSON.
    return AccountRules(version=rules_version(resolved), default=default, types=types)


def _is(item: Any, kind: type) -> bool:
    return type(item) is kind and (not isinstance(item, int) or abs(item) <= MAX_ID)


def _entity_rule(data: Any, where: str, max_ceiling_ms: int) -> EntityRule:
    if not isinstance(data, dict):
        raise ValueError(f"{where} is an object")
    known = {item.name for item in fields(EntityRule)}
    if unknown := sorted(data.keys() - known):
        raise ValueError(f"{where}.{unknown[0]}: unknown key; known: {', '.join(sorted(known))}")
    values = dict(data)
    for name, item_type in (("actions", str), ("fields", str), ("ignore_users", int)):
        items = values.get(name)
        if items is not None or (name == "ignore_users" and name in values):
            if not isinstance(items, list) or not all(_is(item, item_type) for item in items):
                raise ValueError(f"{where}.{name} is an array of {item_type.__name__}")
            values[name] = frozenset(items)
    if type(values.get("keep", True)) is not bool:
        raise ValueError(f"{where}.keep is true or false")
    if not (values.get("actions") or set()) <= {"created", "updated", "deleted"}:
        raise ValueError(f"{where}.actions holds created, updated, deleted")
    rule = EntityRule(**values)
    if type(rule.quiet_ms) is not int or type(rule.ceiling_ms) is not int:
        raise ValueError(f"{where}: quiet_ms and ceiling_ms are integers")
    if not 0 < rule.quiet_ms <= rule.ceiling_ms <= max_ceiling_ms:
        raise ValueError(f"{where}: 0 < quiet_ms <= ceiling_ms <= {max_ceiling_ms} does not hold")
    return rule
