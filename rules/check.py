"""Pure: reads the text of a rules file, finds everything that is wrong with it, and resolves each account's rules."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from processors.rules import AccountRules, read_rules
from rules.example_tables import Example, read_examples
from rules.findings import Finding, Findings
from rules.tables import EXAMPLES, RuleTables, Surroundings
from rules.toml_places import places_in

MAX_DEPTH = 100
"""Levels of tables and arrays: a webhook's values can have no more, and rules have a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRules:
    """A rules file as far as it could be read."""

    findings: Sequence[Finding]
    """Errors and warnings, in the order of the file."""
    resolved: Mapping[str, dict[str, Any]]
    """The rules in full of every configured account, as they travel in a control record; empty if there are errors."""
    examples: Sequence[Example]
    """Empty if there are errors."""
    silent: frozenset[str]
    """The accounts of whose notifications nothing would be kept."""

    @property
    def errors(self) -> Sequence[Finding]:
        """What the file is refused for."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> Sequence[Finding]:
        """What may not be meant so."""
        return [finding for finding in self.findings if finding.severity == "warning"]


def check_rules(text: str, around: Surroundings) -> CheckedRules:
    """Read the text of a rules file; nothing is raised, whatever it says."""
    try:
        data = tomllib.loads(text)
        places = places_in(text)
    except tomllib.TOMLDecodeError as error:
        return _refused([_no_toml(text, str(error))])
    except RecursionError:
        return _refused([_too_deep(_deepest_line(text))])
    except ValueError:
        # Of tomllib's own making there is but one that is no TOMLDecodeError: Python's limit for integers.
        return _refused([_too_long(text)])
    if deep := [line for place, line in places.items() if len(place) > MAX_DEPTH]:
        return _refused([_too_deep(min(deep))])
    findings = Findings(places)
    rules = RuleTables(findings, around)
    rules.read(data)
    examples = read_examples(data.get(EXAMPLES, []), findings, around)
    resolved = {account: rules.resolve(account) for account in around.accounts}
    in_order = sorted(findings.found, key=lambda finding: finding.line or 0)
    if any(finding.severity == "error" for finding in in_order):
        return _refused(in_order)
    read = {name: read_rules(rules, max_ceiling_ms=around.max_ceiling_ms) for name, rules in resolved.items()}
    silent = frozenset(name for name, one in read.items() if keeps_nothing(one))
    rules.warn_of_silence(silent)
    in_order = sorted(findings.found, key=lambda finding: finding.line or 0)
    return CheckedRules(findings=in_order, resolved=resolved, examples=examples, silent=silent)


def keeps_nothing(rules: AccountRules) -> bool:
    """Whether the rules filter every notification of the account, whatever its type."""
    return all(not rule.keep or rule.actions == frozenset() for rule in (rules.default, *rules.types.values()))


def same_rules(one: AccountRules, other: AccountRules) -> bool:
    """Whether two sets of rules do the same, whatever their versions are called."""
    names = {*one.types, *other.types}
    return one.default == other.default and all(one.of(name) == other.of(name) for name in names)


def _refused(findings: Sequence[Finding]) -> CheckedRules:
    return CheckedRules(findings=findings, resolved={}, examples=(), silent=frozenset())


def _too_deep(line: int) -> Finding:
    return Finding(severity="error", line=line, key="", reason=f"nested more than {MAX_DEPTH} levels deep")


def _deepest_line(text: str) -> int:
    """About where the brackets are nested the deepest; those in strings count too."""
    depths = accumulate(
        sum(line.count(one) for one in "[{") - sum(line.count(one) for one in "]}") for line in text.split("\n")
    )
    opened = [line.count("[") + line.count("{") for line in text.split("\n")]
    reached = [before + more for before, more in zip((0, *depths), opened, strict=False)]
    return reached.index(max(reached)) + 1


def _too_long(text: str) -> Finding:
    most = sys.get_int_max_str_digits()
    found = re.search(rf"[0-9](?:_?[0-9]){{{most}}}", text)
    line = text.count("\n", 0, found.start() if found else 0) + 1
    return Finding(severity="error", line=line, key="", reason=f"a number of more than {most:,} digits")


def _no_toml(text: str, message: str) -> Finding:
    at = re.search(r"\(at line (\d+), column \d+\)$", message)
    lines = text.split("\n")
    line = int(at[1]) if at else len(lines)
    spelled = lines[line - 1].partition("#")[0] if line <= len(lines) else ""
    capital = re.search(r"=\s*(True|False)\b", spelled)
    hint = f"write {capital[1].lower()}, in lower case" if capital else ""
    return Finding(severity="error", line=line, key="", reason=f"not valid TOML: {message}", suggestion=hint)
