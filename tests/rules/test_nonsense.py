"""Whatever a rules file says: nothing is raised, and every error has a line."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from rules.check import check_rules
from rules.examples import run_examples
from rules.tables import Surroundings
from schemas.pipeline import PipelineTimes

TIMES = PipelineTimes(horizon_s=600, memory_s=900, max_ceiling_s=300)
AROUND = Surroundings(accounts=("acme", "bolt"), max_ceiling_ms=300_000, types={"job": True, "asset": False})


class Verbatim(str):
    """TOML that is written as it is."""

    __slots__ = ()


HUGE = [Verbatim(one) for one in ("1" + "0" * 400, "1" + "0" * 5_000, "0x1" + "0" * 5_000, "1e400", "-1e306")]
ODD = [
    Verbatim(one) for one in ("nan", "-inf", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[" * 120 + "]" * 120)
]
EDGES = [
    0,
    1,
    -1,
    2**63 - 1,
    2**63,
    -(2**63),
    99999999999999999999,
    1e300,
    0.0001,
    "",
    "acme",
    "job",
    "updated",
    "\x7f",
]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
SCALARS = st.one_of(st.sampled_from([*HUGE, *ODD, *EDGES]), st.booleans(), st.integers(), st.floats(), TEXTS)
KEYS = st.one_of(st.sampled_from(["status", "job", "type"]), TEXTS)
NONSENSE = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=5,
)


def table(**sense: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables that say of each key what makes sense, nonsense, or nothing; now and then one that nobody knows."""
    # Mostly sense: one error is enough for the examples not to be run.
    said = {name: st.one_of(*[value] * 12, NONSENSE) for name, value in sense.items()}
    some = st.fixed_dictionaries({}, optional=said)
    whole = st.fixed_dictionaries(said)
    more = st.one_of(*[st.just({})] * 12, st.dictionaries(KEYS, NONSENSE, max_size=1))
    return st.tuples(st.one_of(whole, some), more).map(lambda both: both[1] | both[0])


TYPES = st.sampled_from(["job", "asset", "JOB", "x.y"])
IDS = st.integers(0, 3)
ACTIONS = st.sampled_from(["created", "updated", "deleted"])
PAIRS = st.dictionaries(KEYS, st.lists(st.one_of(SCALARS, NONSENSE), min_size=2, max_size=2), max_size=2)
RULE = {
    "keep": st.booleans(),
    "actions": st.lists(ACTIONS, max_size=2),
    "fields": st.lists(TEXTS, max_size=2),
    "ignore_users": st.lists(st.integers(-(2**63) + 1, 2**63 - 1), max_size=2),
    "quiet_s": st.floats(0.001, 1),
    "ceiling_s": st.integers(1, 300),
}
RULES = table(**RULE, types=st.dictionaries(TYPES, table(**RULE), max_size=2))
GIVEN = table(
    at=st.integers(0, 5),
    type=TYPES,
    id=IDS,
    action=ACTIONS,
    user=IDS,
    fields=PAIRS,
    message=TEXTS,
    happened=st.floats(0, 86_400),
)
EXPECTED = table(
    type=TYPES,
    id=IDS,
    action=ACTIONS,
    fields=st.one_of(PAIRS, st.lists(TEXTS, max_size=2)),
    notifications=IDS,
    closed_by=st.sampled_from(["quiet", "ceiling"]),
    due=st.floats(0, 86_400),
)
EXAMPLE = table(
    name=TEXTS,
    account=st.sampled_from(["acme", "bolt"]),
    given=st.lists(GIVEN, max_size=3),
    expect=st.lists(EXPECTED, max_size=3),
)
FILE = table(
    defaults=RULES,
    accounts=st.dictionaries(st.sampled_from(["acme", "bolt"]), RULES, max_size=2),
    examples=st.lists(EXAMPLE, max_size=2),
)


def toml(value: Any) -> str:
    """Inline, as TOML writes it."""
    if isinstance(value, Verbatim):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(name)} = {toml(one)}" for name, one in value.items()) + "}"
    return repr(value)


def written(data: dict[str, Any]) -> str:
    """A file with one line per key at the top."""
    return "".join(f"\n{toml(name)} = {toml(value)}\n" for name, value in data.items())


def refused(text: str) -> bool:
    """Whether it is an error, after all that is done with a rules file was done."""
    checked = check_rules(text, AROUND)
    for finding in checked.errors:
        assert finding.line is not None
        assert 1 <= finding.line <= len(text.split("\n"))
        assert str(finding)
    for result in run_examples(checked.examples, checked.resolved, TIMES):
        assert [str(fault.expected) + str(fault.got) for fault in result.faults] or result.passed
    return bool(checked.errors)


@given(FILE)
@example({"examples": [{"account": "", "given": [], "expect": []}]})
@example({"defaults": {"quiet_s": Verbatim("1" + "0" * 400)}})
@example({"defaults": {"quiet_s": Verbatim("1" + "0" * 5_000)}})
@example({"defaults": {"ceiling_s": 1e306}})
@example({"defaults": {"fields": [Verbatim("0x1" + "0" * 5_000)]}})
@example(
    {"examples": [{"account": "acme", "given": [], "expect": [{"type": "job", "id": 1, "notifications": 10**20}]}]}
)
def test_no_rules_file_raises_anything_and_every_error_has_a_line(data: dict[str, Any]) -> None:
    refused(written(data))


PIECES = st.sampled_from([*"[]{}=.,#'\"\\ \n1ae_-", "defaults", "quiet_s", "examples", "1" * 5_000])


@given(st.lists(PIECES, max_size=30).map("".join))
def test_no_text_raises_anything_and_every_error_has_a_line(text: str) -> None:
    refused(text)


def test_the_files_that_are_thrown_are_good_and_bad() -> None:
    good = {"account": "acme", "given": [{"at": 0, "type": "job", "id": 1, "action": "updated"}], "expect": []}
    assert not refused(written({"examples": [good]}))
    assert refused(written({"examples": [good | {"expect": [{"type": "job", "id": 1, "notifications": 10**20}]}]}))
