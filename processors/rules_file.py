"""The rules file: a person's TOML, resolved into what each account's rules are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from processors.rules import EntityRule, read_rules
from runtime.toml_reader import read_toml
from schemas.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePart:
    """What a table of the file may say; what it leaves out comes from the table around it."""

    keep: bool | None = None
    actions: tuple[Literal["created", "updated", "deleted"], ...] | None = None
    fields: tuple[str, ...] | None = None
    ignore_users: tuple[int, ...] | None = None
    quiet_s: float | None = None
    ceiling_s: float | None = None

    def resolved(self) -> dict[str, Any]:
        """Only what is said, as the core spells it: milliseconds and sorted arrays."""
        said = {item.name: getattr(self, item.name) for item in fields(RulePart)}
        result: dict[str, Any] = {}
        for name, value in said.items():
            if value is None:
                continue
            if name.endswith("_s"):
                result[name.removesuffix("_s") + "_ms"] = round(value * 1000)
            else:
                result[name] = sorted(value) if isinstance(value, tuple) else value
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet(RulePart):
    """A table with tables by entity type below it."""

    types: Mapping[str, RulePart] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """[defaults], [defaults.types.T], [accounts.A] and [accounts.A.types.T]; what stands further right wins."""

    defaults: RuleSet = field(default_factory=RuleSet)
    accounts: Mapping[str, RuleSet] = field(default_factory=dict)

    def resolve(self, account: str) -> dict[str, Any]:
        """The account's rules in full, as they travel in a control record."""
        mine = self.accounts.get(account, RuleSet())
        default = _plain(EntityRule()) | self.defaults.resolved() | mine.resolved()
        names = sorted({*self.defaults.types, *mine.types})
        nothing = RulePart()
        return {
            "default": default,
            "types": {
                name: default
                | self.defaults.types.get(name, nothing).resolved()
                | mine.types.get(name, nothing).resolved()
                for name in names
            },
        }


def _plain(rule: EntityRule) -> dict[str, Any]:
    values = {item.name: getattr(rule, item.name) for item in fields(rule)}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def read_rules_file(path: Path, accounts: Mapping[str, object], *, max_ceiling_ms: int) -> dict[str, dict[str, Any]]:
    """The resolved rules of every configured account.

    Raises:
        SettingsError: names the file, the line and what is wrong.
    """
    file = read_toml(path, RulesFile)
    if unknown := sorted(file.accounts.keys() - accounts.keys()):
        raise SettingsError(f"{path}: accounts.{unknown[0]}: no such account in the configuration")
    resolved = {account: file.resolve(account) for account in accounts}
    for account, rules in resolved.items():
        try:
            read_rules(rules, max_ceiling_ms=max_ceiling_ms)
        except ValueError as error:
            raise SettingsError(f"{path}: for account {account}: {error}") from error
    return resolved
