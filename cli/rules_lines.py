"""How rules, and what is different in later ones, look to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cli.console import ERR
from cli.rules_print import line
from rules.history import RulesEntry

_WIDTH = 16


def place_of(entry: RulesEntry) -> str:
    """The position as all of the command line writes it."""
    return f"{entry.entry.topic}[{entry.entry.partition}] offset {entry.entry.offset}"


def rules_lines(rules: Mapping[str, Any]) -> Iterable[str]:
    """Resolved rules, a line per entity type; the fields that are as in the line for all types are left out."""
    default = rules.get("default")
    if not isinstance(default, dict) or not isinstance(rules.get("types"), dict):
        yield f"{'?':<{_WIDTH}}{rules}"
        return
    yield f"{'every type':<{_WIDTH}}{_rule_text(default)}"
    for name, rule in sorted(rules["types"].items()):
        if isinstance(rule, dict):
            different = {key: value for key, value in rule.items() if default.get(key) != value}
            yield f"{name:<{_WIDTH}}{_rule_text(different) if different else 'like every type'}"


def _rule_text(rule: Mapping[str, Any]) -> str:
    if rule.get("keep") is False:
        return "dropped"
    return "; ".join(_key_text(name, rule[name]) for name in _ORDER if name in rule) or str(dict(rule))


_ORDER = ("keep", "actions", "fields", "ignore_users", "quiet_ms", "ceiling_ms")


def _key_text(name: str, value: Any) -> str:
    if name == "keep":
        return "kept" if value else "dropped"
    if name.endswith("_ms") and isinstance(value, int):
        return f"{name.removesuffix('_ms')} {value / 1000:g} s"
    if name == "ignore_users":
        return f"not what users {', '.join(map(str, value))} did" if value else "whoever did it"
    if value is None:
        return f"all {name}"
    return f"{name} {', '.join(map(str, value))}" if value else f"no {name}"


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterable[str]:
    """What is different in the later of two resolved rules, a line per rule; `before` None: they are the first."""
    if before is None:
        yield from rules_lines(after)
        return
    was, now = _by_name(before), _by_name(after)
    for name in [key for key in dict.fromkeys((*now, *was)) if was.get(key) != now.get(key)]:
        told = name or "every type"
        if name not in now:
            yield f"{told:<{_WIDTH}}no rule of its own any more"
        else:
            # A type without a rule of its own had the one for every type.
            old = was.get(name, was.get("", {}))
            changed = {key: value for key, value in now[name].items() if old.get(key) != value}
            if changed:
                said = (f"{_key_text(key, changed[key])} (was: {_key_text(key, old.get(key))})" for key in changed)
                yield f"{told:<{_WIDTH}}{'; '.join(said)}"


def _by_name(rules: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The default under the empty name, and the types."""
    return {"": rules.get("default", {}), **dict(sorted(rules.get("types", {}).items()))}


def warn_foreign(count: int) -> None:
    """Say that the topic holds what it should not."""
    if count:
        line(ERR, f"{count:,} records on tradewind.rules are no rules of ours: see `tradewind audit`")
