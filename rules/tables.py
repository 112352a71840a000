"""Pure: reads the tables of rules in a rules file, and resolves what holds for an account."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from processors.notification import ENTITY_TYPE, MAX_ID
from processors.rules import EntityRule, builtin_rules
from rules.findings import Findings, shown, warn_of_type
from rules.toml_places import Place
from schemas.suggestion import did_you_mean

ACTIONS = ("created", "updated", "deleted")
DEFAULTS, ACCOUNTS, TYPES, EXAMPLES = "defaults", "accounts", "types", "examples"
LONGEST_S = MAX_ID // 1000
"""Seconds: in milliseconds it is the largest integer that JSON is written with."""
Part = Mapping[str, Any]
"""What one table says, as the core spells it: milliseconds and sorted arrays; None for a time that makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a rules file is checked against."""

    accounts: Sequence[str]
    """The configured ones."""
    max_ceiling_ms: int
    types: Mapping[str, bool | None] = field(default_factory=dict)
    """The entity types that are known, and whether webhooks are sent about them; empty: types are not looked at."""


class RuleTables:
    """Reads the tables of rules, and remembers what each of them says."""

    def __init__(self, findings: Findings, around: Surroundings) -> None:
        self._findings = findings
        self._around = around
        self._parts: dict[Place, Part] = {}
        self._builtin = plain(builtin_rules(around.max_ceiling_ms).default)

    def read(self, data: Mapping[str, Any]) -> None:
        """Read [defaults] and [accounts.NAME] of a whole file."""
        for name in data.keys() - {DEFAULTS, ACCOUNTS, EXAMPLES}:
            if name in {*RULE_KEYS, TYPES}:
                hint = f"it belongs below [{DEFAULTS}] or [{ACCOUNTS}.NAME]"
            else:
                hint = did_you_mean(name, (DEFAULTS, ACCOUNTS, EXAMPLES), "known here")
            self._findings.error((name,), "unknown key", hint)
        self._set((DEFAULTS,), data.get(DEFAULTS, {}))
        accounts = data.get(ACCOUNTS, {})
        if not self._findings.is_a(dict, accounts, (ACCOUNTS,)):
            return
        for name, table in accounts.items():
            if name not in self._around.accounts:
                hint = did_you_mean(name, self._around.accounts, "configured are")
                self._findings.error((ACCOUNTS, name), "no such account in the configuration", hint)
            self._set((ACCOUNTS, name), table)

    def _set(self, place: Place, data: Any) -> None:
        """A table with tables by entity type below it."""
        self._part(place, data, more=(TYPES,))
        types = data.get(TYPES, {}) if isinstance(data, dict) else {}
        if not self._findings.is_a(dict, types, (*place, TYPES)):
            return
        for name, table in types.items():
            where = (*place, TYPES, name)
            if not ENTITY_TYPE.fullmatch(name):
                hint = f"did you mean {name.lower()}?" if ENTITY_TYPE.fullmatch(name.lower()) else ""
                self._findings.error(where, "no entity type is spelled so: they are lower case", hint)
            else:
                warn_of_type(name, where, self._findings, self._around.types)
            self._part(where, table)

    def _part(self, place: Place, data: Any, more: Iterable[str] = ()) -> None:
        said = self._findings.table(data, (*RULE_KEYS, *more), place)
        part: dict[str, Any] = {}
        for name, value in said.items():
            if name in RULE_KEYS:
                spelled, read = RULE_KEYS[name]
                part[spelled] = read(self._findings, value, (*place, name))
        self._parts[place] = part
        if part.get("actions") == [] and said["actions"] == []:
            self._findings.warning((*place, "actions"), "keeps nothing", "write keep = false if that is meant")
        if part.get("fields") == [] and said["fields"] == []:
            self._findings.warning(
                (*place, "fields"),
                "keeps no update that says what changed",
                'write actions = ["created", "deleted"] if no updates are wanted',
            )

    def resolve(self, account: str) -> dict[str, Any]:
        """The account's rules in full; notes where its times do not go together."""
        names = {place[-1] for place in self._parts if place[:-1] in ((DEFAULTS, TYPES), (ACCOUNTS, account, TYPES))}
        return {
            "default": self._merged(account, None),
            "types": {str(name): self._merged(account, str(name)) for name in sorted(map(str, names))},
        }

    def _merged(self, account: str, entity_type: str | None) -> dict[str, Any]:
        merged, said_at = dict(self._builtin), dict[str, Place]()
        order: list[Place] = [(DEFAULTS,), (ACCOUNTS, account)]
        if entity_type is not None:
            order += [(DEFAULTS, TYPES, entity_type), (ACCOUNTS, account, TYPES, entity_type)]
        for place in order:
            part = self._parts.get(place, {})
            merged |= part
            said_at |= {name: (*place, name.removesuffix("_ms") + "_s") for name in part}
        quiet_ms, ceiling_ms = merged["quiet_ms"], merged["ceiling_ms"]
        if quiet_ms is not None and ceiling_ms is not None:
            self._check_times(quiet_ms, ceiling_ms, said_at.get("quiet_ms"), said_at.get("ceiling_ms"))
        return merged

    def _check_times(self, quiet_ms: int, ceiling_ms: int, quiet: Place | None, ceiling: Place | None) -> None:
        largest_ms = self._around.max_ceiling_ms
        if ceiling is not None and ceiling_ms > largest_ms:
            self._findings.error(
                ceiling,
                f"{_s(ceiling_ms)} is above the largest ceiling of the pipeline, {_s(largest_ms)}",
                f"write at most {_number(largest_ms)}, or raise max_ceiling_s in [pipeline] of the configuration",
            )
        elif quiet_ms > ceiling_ms and (ceiling is None or (quiet is not None and len(quiet) > len(ceiling))):
            place = quiet or ()
            self._findings.error(
                place,
                f"a quiet period of {_s(quiet_ms)} is above the ceiling of {_s(ceiling_ms)} {self._said(ceiling)}",
                f"write ceiling_s = {_number(quiet_ms)} or more beside it"
                if quiet_ms <= largest_ms
                else f"write at most {_number(ceiling_ms)}",
            )
        elif quiet_ms > ceiling_ms:
            self._findings.error(
                ceiling or (),
                f"a ceiling of {_s(ceiling_ms)} is below the quiet period of {_s(quiet_ms)} {self._said(quiet)}",
                f"write ceiling_s = {_number(quiet_ms)} or more, or quiet_s = {_number(ceiling_ms)} or less beside it",
            )

    def _said(self, place: Place | None) -> str:
        if place is None:
            return "that is built in"
        line = self._findings.places.get(place)
        return f"of line {line}" if line else f"of {'.'.join(map(str, place))}"

    def warn_of_silence(self, silent: Iterable[str]) -> None:
        """Note that nothing of these accounts is kept."""
        for account in sorted(silent):
            mine: Place = (ACCOUNTS, account)
            self._findings.warning(
                mine if mine in self._parts else (DEFAULTS,),
                f"everything of account {account} is filtered: no change would come of any webhook",
                "keep at least one entity type",
            )


# -- single keys -------------------------------------------------------------------------------------------------------


def _keep(findings: Findings, value: Any, place: Place) -> bool | None:
    return value if findings.is_a(bool, value, place) else None


def _actions(findings: Findings, value: Any, place: Place) -> list[str]:
    items = findings.array(value, place, like='["created", "updated"]')
    for index, item in enumerate(items):
        if item not in ACTIONS:
            hint = did_you_mean(shown(item).strip('"'), ACTIONS, "there are")
            findings.error((*place, index), f"{shown(item)} is no action", hint)
    return sorted({item for item in items if item in ACTIONS})


def _fields(findings: Findings, value: Any, place: Place) -> list[str]:
    items = findings.array(value, place, like='["status"]')
    return sorted({item for index, item in enumerate(items) if findings.is_a(str, item, (*place, index))})


def _users(findings: Findings, value: Any, place: Place) -> list[int]:
    users = set()
    for index, item in enumerate(findings.array(value, place, like="[900001]")):
        if isinstance(item, str) and item.isascii() and item.isdigit():
            findings.error((*place, index), f"expected an integer, found {shown(item)}", "leave the quotes out")
        elif findings.is_a(int, item, (*place, index)):
            if abs(item) <= MAX_ID:
                users.add(item)
            else:
                findings.error((*place, index), f"{shown(item)} is beyond what an id can be")
    return sorted(users)


def _seconds(findings: Findings, value: Any, place: Place) -> int | None:
    """Milliseconds."""
    # Of integers without a look: those that are too large for a float cannot be asked.
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))):
        findings.error(place, f"expected a number of seconds, found {shown(value)}", "write it like 2 or 0.5")
        return None
    if value > LONGEST_S:
        findings.error(place, f"{shown(value)} s is longer than anything can wait", "write it like 2 or 0.5")
        return None
    if value <= 0 or round(value * 1000) < 1:
        findings.error(place, f"{shown(value)} s is no time to wait", "write 0.001 or more")
        return None
    return round(value * 1000)


RULE_KEYS: Mapping[str, tuple[str, Callable[[Findings, Any, Place], Any]]] = {
    "keep": ("keep", _keep),
    "actions": ("actions", _actions),
    "fields": ("fields", _fields),
    "ignore_users": ("ignore_users", _users),
    "quiet_s": ("quiet_ms", _seconds),
    "ceiling_s": ("ceiling_ms", _seconds),
}


def plain(rule: EntityRule) -> dict[str, Any]:
    """A rule in full, as it travels in a control record."""
    values = {item.name: getattr(rule, item.name) for item in fields(rule)}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def _number(ms: int) -> str:
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".")


def _s(ms: int) -> str:
    return f"{_number(ms)} s"
