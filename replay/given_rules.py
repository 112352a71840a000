"""The rules that hold in a replay instead of those of then: what is in force now, or what a file says."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processors.rules import AccountRules, read_rules
from processors.rules_check import keeps_nothing
from processors.rules_file import read_rules_file
from replay.plan import NOW, THEN
from schemas.errors import SettingsError
from schemas.rules import RulesInForce


@dataclass(frozen=True, slots=True)
class GivenRules:
    """Per account, from the beginning to the end of a replay; accounts not named have the built-in ones."""

    by_account: Mapping[str, AccountRules]

    @property
    def version(self) -> str:
        """16 hex digits that differ whenever an account's rules differ."""
        named = sorted(f"{account} {rules.version}" for account, rules in self.by_account.items())
        return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]

    def silent(self, accounts: Collection[str]) -> list[str]:
        """The accounts of whose notifications nothing is kept; of those named, or of all."""
        return sorted(
            account
            for account, rules in self.by_account.items()
            if keeps_nothing(rules) and (not accounts or account in accounts)
        )


def rules_now(history: Sequence[RulesInForce], topic: str, *, max_ceiling_ms: int) -> GivenRules:
    """Per account, the rules of the highest position in the raw log.

    Raises:
        ValueError: a copy of rules cannot be read.
    """
    latest: dict[str, RulesInForce] = {}
    for entry in history:
        # An account's rules are all in its own partition, so their offsets can be compared.
        if entry.topic == topic and (entry.account not in latest or entry.offset > latest[entry.account].offset):
            latest[entry.account] = entry
    return GivenRules({name: read_rules(one.rules, max_ceiling_ms=max_ceiling_ms) for name, one in latest.items()})


def give_rules(
    said: str,
    history: Sequence[RulesInForce],
    *,
    topic: str,
    accounts: Collection[str],
    max_ceiling_ms: int,
) -> GivenRules | None:
    """The rules that somebody said; None for those of then.

    Args:
        said: `then`, `now` or the path of a rules file. What the file does not name has its rules of now, as if it
            were applied now.
        history: all records of tradewind.rules.
        topic: full name of the raw log.
        accounts: those that a file is read for.
        max_ceiling_ms: of the pipeline.

    Raises:
        SettingsError: the file, or what is in force now, cannot be read or is wrong.
    """
    if said == THEN:
        return None
    try:
        now = rules_now(history, topic, max_ceiling_ms=max_ceiling_ms)
    except ValueError as error:
        raise SettingsError(f"--rules: what is in force now cannot be read: {error}") from error
    if said == NOW:
        return now
    path = Path(said)
    if not path.is_file():
        raise SettingsError(f"--rules: {said} is no file; say then, now or the path of a rules file")
    resolved = read_rules_file(path, dict.fromkeys(accounts), max_ceiling_ms=max_ceiling_ms)
    read = {account: read_rules(rules, max_ceiling_ms=max_ceiling_ms) for account, rules in resolved.items()}
    return GivenRules({**now.by_account, **read})
