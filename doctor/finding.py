"""Pure: what one check has found, and what all of them come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, but somebody should know."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """Something else has to be put right first, or nobody wanted to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    """Which check: broker, topics, store, ..."""
    subject: str
    """What it looked at: a topic, an account, a file, a key of the configuration."""
    state: State
    what: str
    """What was found, in a sentence."""
    do: str = ""
    """What to do about it: a command, or a key of the configuration. Every failure and warning has it."""


@dataclass(frozen=True, slots=True)
class Check:
    """Makes the findings of one check."""

    name: str

    def ok(self, subject: str, what: str) -> Finding:
        """All is as it should be."""
        return self._found(subject, State.OK, what)

    def warning(self, subject: str, what: str, do: str) -> Finding:
        """It works, but somebody should know."""
        return self._found(subject, State.WARNING, what, do)

    def failed(self, subject: str, what: str, do: str) -> Finding:
        """It does not work, or loses something."""
        return self._found(subject, State.FAILED, what, do)

    def not_checked(self, subject: str, why: str, do: str = "") -> Finding:
        """Something else has to be put right first, or nobody wanted to know."""
        return self._found(subject, State.NOT_CHECKED, why, do)

    def _found(self, subject: str, state: State, what: str, do: str = "") -> Finding:
        # An error often begins with the key that is wrong, which is the subject already.
        return Finding(check=self.name, subject=subject, state=state, what=what.removeprefix(f"{subject}: "), do=do)


CONFIGURATION = Check("configuration")
BROKER = Check("broker")
TOPICS = Check("topics")
GROUPS = Check("groups")
STORE = Check("store")
SERVICETRADE = Check("servicetrade")
SUBSCRIPTIONS = Check("subscriptions")
INGEST = Check("ingest")


def any_failed(findings: Iterable[Finding]) -> bool:
    """Whether something does not work."""
    return any(finding.state is State.FAILED for finding in findings)


def many(count: int, noun: str) -> str:
    """The count and the noun: 1 record, 2 records."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
