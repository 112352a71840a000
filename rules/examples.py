"""Pure: runs the examples of a rules file through the core itself, and says where the changes are not as expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from processors.consolidator import Consolidator, Ledger
from processors.notification import Notification, parse
from processors.rules import AccountRules, read_rules
from processors.window import Origin
from rules.example_tables import Example, Expected, Given
from rules.findings import shown
from schemas.change import EntityChange
from schemas.encoding import encode, encode_canonical
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, CONTROL_TICK

BEGINNING_MS = 1_700_000_000_000
"""Append time of the rules of an example. Above every phase of a cut, and below every cut: see _FAR_S."""
_FAR_S = 1e12
"""The period of the cuts in an example: where they fall depends on the entity's id, which is none of its business."""

Verdict = Literal["opened a window", "joined its window", "filtered", "a repeat"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One difference: about which change, of what, expected and got; None for what was not said, or is not there."""

    about: str
    what: str
    expected: str | None
    got: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleResult:
    """What came of an example."""

    example: Example
    rules: AccountRules
    """Of its account."""
    verdicts: Sequence[Verdict]
    """What became of each notification that was given."""
    changes: Sequence[EntityChange]
    faults: Sequence[Fault]

    @property
    def passed(self) -> bool:
        """Whether the changes are those that were expected."""
        return not self.faults


def run_examples(
    examples: Sequence[Example], resolved: Mapping[str, Mapping[str, Any]], times: PipelineTimes
) -> list[ExampleResult]:
    """Run each example under the resolved rules of its account, with the pipeline's horizon and largest ceiling."""
    return [run_example(example, resolved[example.account], times) for example in examples]


def run_example(example: Example, rules: Mapping[str, Any], times: PipelineTimes) -> ExampleResult:
    """Run one example: its rules at 0 s, what is given, and ticks until every window has closed."""
    far = PipelineTimes(horizon_s=times.horizon_s, memory_s=_FAR_S, max_ceiling_s=times.max_ceiling_s)
    core = Consolidator(Origin("examples", 0, 1), far)
    core.feed([_record(0, 0, example.account, encode(rules), CONTROL_RULES)])
    verdicts: list[Verdict] = []
    changes: list[EntityChange] = []
    for offset, given in enumerate(example.given, start=1):
        # Time moves first, so that what the notification closes is not taken for what it did.
        changes += core.feed([_record(offset, given.at_ms, example.account, b"", CONTROL_TICK)]).changes
        before, windows = replace(core.ledger), core.open_windows
        core.feed([_record(offset, given.at_ms, example.account, encode(_body(given)))])
        verdicts.append(_verdict(before, core.ledger, opened=core.open_windows > windows))
    while (due_ms := core.next_due_ms()) is not None:
        changes += core.feed([_record(0, due_ms + 1 - BEGINNING_MS, example.account, b"", CONTROL_TICK)]).changes
    return ExampleResult(
        example=example,
        rules=read_rules(rules, max_ceiling_ms=times.max_ceiling_ms),
        verdicts=verdicts,
        changes=changes,
        faults=_differences(example.expect, changes),
    )


def notification_of(given: Given) -> Notification:
    """What the core reads of a notification that is given."""
    (notification,) = parse(encode(_body(given)), appended_ms=BEGINNING_MS + given.at_ms).notifications
    return notification


def _record(offset: int, at_ms: int, account: str, value: bytes, control: bytes | None = None) -> LogRecord:
    headers = () if control is None else ((CONTROL_HEADER, control),)
    return LogRecord(offset=offset, timestamp=BEGINNING_MS + at_ms, key=account.encode(), value=value, headers=headers)


def _body(given: Given) -> dict[str, Any]:
    seconds = (BEGINNING_MS + given.happened_ms) // 1000
    element: dict[str, Any] = {
        "action": given.action,
        "timestamp": seconds,
        "userId": given.user,
        "entity": {"type": given.entity_type, "id": given.entity_id},
    }
    if given.fields is not None:
        element["changeset"] = [
            {"field": name, "oldValue": old, "newValue": new} for name, (old, new) in given.fields.items()
        ]
    return {"messageId": given.message, "timestamp": str(seconds), "data": [element]}


def _verdict(before: Ledger, after: Ledger, *, opened: bool) -> Verdict:
    if after.filtered > before.filtered:
        return "filtered"
    if after.duplicates > before.duplicates:
        return "a repeat"
    return "opened a window" if opened else "joined its window"


def _differences(expect: Sequence[Expected], changes: Sequence[EntityChange]) -> list[Fault]:
    """Of each entity the changes in their order; entities do not wait for each other."""
    faults: list[Fault] = []
    wanted: dict[str, list[Expected]] = {}
    for expected in expect:
        wanted.setdefault(expected.entity, []).append(expected)
    found: dict[str, list[EntityChange]] = {}
    for change in changes:
        found.setdefault(change.subject, []).append(change)
    for entity in dict.fromkeys((*wanted, *found)):
        mine, theirs = wanted.get(entity, []), found.get(entity, [])
        several = max(len(mine), len(theirs)) > 1
        for index in range(max(len(mine), len(theirs))):
            about = f"{entity}, change {index + 1}" if several else entity
            if index >= len(mine):
                faults.append(Fault(about, "change", None, describe(theirs[index])))
            elif index >= len(theirs):
                faults.append(Fault(about, "change", _describe_wanted(mine[index]), None))
            else:
                faults += _compare(about, mine[index], theirs[index])
    return faults


def _compare(about: str, expected: Expected, change: EntityChange) -> list[Fault]:
    faults = []
    for what, wanted in expected.said.items():
        got: Any = _facts(change)[what]
        if what == "fields" and isinstance(wanted, list):
            got = sorted(got)
        # As JSON: to Python true is 1.
        if encode_canonical(wanted) != encode_canonical(got):
            faults.append(Fault(about, what, _told(what, wanted), _told(what, got)))
    return faults


def _facts(change: EntityChange) -> dict[str, Any]:
    return {
        "action": change.action,
        "fields": {item.name: (item.old_value, item.new_value) for item in change.changeset},
        "notifications": change.notifications,
        "closed_by": change.closed_by,
        "due": change.due_ms - BEGINNING_MS,
    }


def describe(change: EntityChange) -> str:
    """A change in one line, in the words of examples."""
    return ", ".join(f"{what} {_told(what, value)}" for what, value in _facts(change).items())


def _describe_wanted(expected: Expected) -> str:
    return ", ".join(f"{what} {_told(what, value)}" for what, value in expected.said.items()) or "any"


def _told(what: str, value: Any) -> str:
    if what == "due":
        return f"{value / 1000:g} s"
    if what != "fields":
        return str(value)
    if isinstance(value, list):
        return ", ".join(value) or "none"
    pairs = (f"{name}: {shown(old)} -> {shown(new)}" for name, (old, new) in value.items())
    return "{ " + ", ".join(pairs) + " }" if value else "none"


def tally(results: Sequence[ExampleResult]) -> str:
    """How many passed, in words."""
    counts = Counter(result.passed for result in results)
    failed = f", {counts[False]} failed" if counts[False] else ""
    return f"{counts[True]} example{'' if counts[True] == 1 else 's'} passed{failed}"
