"""The rules that hold in a replay instead of those of then: what is in force now, or what a file says."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from processors.restore import read_rules_history
from processors.rules import AccountRules, read_rules
from replay.plan import NOW, THEN
from rules.check import keeps_nothing
from rules.file import read_rules_file
from rules.history import RulesLog, read_rules_log
from runtime.kafka import LogReader
from runtime.settings import Settings
from schemas.errors import SettingsError
from schemas.record import LogRecord
from schemas.rules import RulesInForce
from schemas.topics import RULES

REPLAYED = "replay-"
"""Before the version of rules that hold in a replay instead of those of then."""


@dataclass(frozen=True, slots=True)
class GivenRules:
    """Per account, from the beginning to the end of a replay; accounts not named have the built-in ones."""

    by_account: Mapping[str, AccountRules]

    @property
    def version(self) -> str:
        """16 hex digits that differ whenever an account's rules differ."""
        named = sorted(f"{account} {rules.version}" for account, rules in self.by_account.items())
        return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]

    def marked(self) -> dict[str, AccountRules]:
        """As the core is given them; see `marked`."""
        return {account: marked(rules) for account, rules in self.by_account.items()}

    def silent(self, accounts: Collection[str]) -> list[str]:
        """The accounts of whose notifications nothing is kept; of those named, or of all."""
        return sorted(
            account
            for account, rules in self.by_account.items()
            if keeps_nothing(rules) and (not accounts or account in accounts)
        )


def marked(rules: AccountRules) -> AccountRules:
    """The same rules by a version that the live run never has: an id is made of it, and must be no id of the live run.

    A control record closes windows live, and none where the given rules hold from beginning to end.
    """
    return replace(rules, version=REPLAYED + rules.version)


async def read_copies(reader: LogReader, settings: Settings) -> tuple[list[RulesInForce], int]:
    """All records of tradewind.rules, and how many besides are no rules.

    The processors stop at those; a replay only reads what they have done, and passes them over.

    Raises:
        KafkaError: the broker is gone, or the topic is missing.
    """
    foreign: list[LogRecord] = []
    topic = settings.kafka.topic_prefix + RULES.name
    history = await read_rules_history(reader, topic, on_foreign=foreign.append)
    return history, len(foreign)


def rules_now(log: RulesLog, known: Sequence[RulesInForce], *, max_ceiling_ms: int) -> GivenRules:
    """Per account, what the processors have reached last of the rules in its own partition.

    Args:
        log: of all accounts.
        known: copies that came later than these do not count.
        max_ceiling_ms: of the pipeline.

    Raises:
        ValueError: a copy of rules cannot be read.
    """
    places = {_place(entry) for entry in known}
    latest = {
        account: one.entry.rules
        for account in log.homes
        for one in log.of(account)  # in order: the last one stays
        if one.reached and _place(one.entry) in places
    }
    return GivenRules({name: read_rules(rules, max_ceiling_ms=max_ceiling_ms) for name, rules in latest.items()})


def _place(entry: RulesInForce) -> tuple[str, int, int]:
    return entry.topic, entry.partition, entry.offset


def require_rules(said: str) -> None:
    """Refuse what is neither `then` nor `now` nor the path of a file, before anything is looked for.

    Raises:
        SettingsError: says what can be said.
    """
    if said not in (THEN, NOW) and not Path(said).is_file():
        raise SettingsError(f"--rules: {said} is no file; say then, now or the path of a rules file")


async def find_rules(
    reader: LogReader, settings: Settings, said: str, *, known: Sequence[RulesInForce], accounts: Collection[str]
) -> GivenRules | None:
    """The rules that somebody said; None for those of then.

    Args:
        reader: not used by anyone else meanwhile.
        settings: where the topics are, and the processors' group.
        said: `then`, `now` or the path of a rules file. What the file does not name has its rules of now, as if it
            were applied now.
        known: what counts of tradewind.rules.
        accounts: those that a file is read for.

    Raises:
        SettingsError: the file, or what is in force now, cannot be read or is wrong.
        KafkaError: the broker is gone, or a topic is missing.
    """
    require_rules(said)
    if said == THEN:
        return None
    log, largest = await read_rules_log(reader, settings), settings.pipeline.max_ceiling_ms
    try:
        now = rules_now(log, known, max_ceiling_ms=largest)
    except ValueError as error:
        raise SettingsError(f"--rules: what is in force now cannot be read: {error}") from error
    return now if said == NOW else GivenRules({**now.by_account, **_of_file(Path(said), accounts, largest)})


def _of_file(path: Path, accounts: Collection[str], max_ceiling_ms: int) -> dict[str, AccountRules]:
    resolved = read_rules_file(path, dict.fromkeys(accounts), max_ceiling_ms=max_ceiling_ms)
    return {account: read_rules(rules, max_ceiling_ms=max_ceiling_ms) for account, rules in resolved.items()}
