"""Pure: reads the text of a rules file, finds everything that is wrong with it, and resolves each account's rules."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from processors.rules import AccountRules, read_rules
from processors.rules_example_tables import Example, read_examples
from processors.rules_findings import Finding, Findings
from processors.rules_tables import EXAMPLES, RuleTables, Surroundings
from processors.toml_places import places_in


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
    except tomllib.TOMLDecodeError as error:
        return _refused([_no_toml(text, str(error))])
    except RecursionError:
        return _refused([Finding(severity="error", line=None, key="", reason="nested too deeply")])
    findings = Findings(places_in(text))
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


def _no_toml(text: str, message: str) -> Finding:
    at = re.search(r"\(at line (\d+), column \d+\)$", message)
    lines = text.split("\n")
    line = int(at[1]) if at else len(lines)
    spelled = lines[line - 1].partition("#")[0] if line <= len(lines) else ""
    capital = re.search(r"=\s*(True|False)\b", spelled)
    hint = f"write {capital[1].lower()}, in lower case" if capital else ""
    return Finding(severity="error", line=line, key="", reason=f"not valid TOML: {message}", suggestion=hint)
