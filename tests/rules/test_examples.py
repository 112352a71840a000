"""Examples beside rules: how they are run, what their failures say, and what is wrong with bad ones."""

from __future__ import annotations

from typing import Any

import pytest

from processors.rules import builtin_rules, read_rules
from rules.check import CheckedRules, check_rules, same_rules
from rules.example_tables import LIKE
from rules.examples import BEGINNING_MS, ExampleResult, Fault, notification_of, run_examples, tally
from rules.tables import Surroundings
from schemas.pipeline import PipelineTimes

TIMES = PipelineTimes(horizon_s=600, memory_s=900, max_ceiling_s=300)
AROUND = Surroundings(accounts=("acme", "bolt"), max_ceiling_ms=300_000, types={"job": True, "jobitem": True})


def check(text: str) -> CheckedRules:
    return check_rules(text, AROUND)


def run(rules: str, given: str, expect: str, *, times: PipelineTimes = TIMES) -> ExampleResult:
    text = f"{rules}\n[[examples]]\nname = 'one'\naccount = 'acme'\ngiven = [{given}]\nexpect = [{expect}]"
    checked = check(text)
    assert [str(finding) for finding in checked.errors] == []
    (result,) = run_examples(checked.examples, checked.resolved, times)
    return result


def one(at: float, **more: Any) -> str:
    """A notification about job 1."""
    said = {"at": at, "type": "job", "id": 1, "action": "updated", **more}
    spelled = {
        name: f"'{value}'" if isinstance(value, str) and not value.startswith("{") else value
        for name, value in said.items()
    }
    return "{ " + ", ".join(f"{name} = {value}" for name, value in spelled.items()) + " }, "


def test_a_burst_is_one_change_and_says_when_it_was_due() -> None:
    given = one(0, fields="{ status = ['new', 'open'] }") + one(1.5, fields="{ status = ['open', 'done'] }")
    expect = (
        "{ type = 'job', id = 1, action = 'updated', fields = { status = ['new', 'done'] }, "
        "notifications = 2, closed_by = 'quiet', due = 3.5 }"
    )
    result = run("", given, expect)
    assert (result.passed, result.verdicts) == (True, ["opened a window", "joined its window"])


def test_silence_longer_than_the_quiet_period_makes_two_changes_in_their_order() -> None:
    given = one(0, fields="{ a = [1, 2] }") + one(2.001, action="deleted")
    first, second = "{ type = 'job', id = 1, fields = ['a'] }", "{ type = 'job', id = 1, action = 'deleted' }"
    assert run("", given, f"{first}, {second}").passed
    assert [fault.about for fault in run("", given, f"{second}, {first}").faults] == [
        "job/1, change 1",
        "job/1, change 2",
    ]


def test_entities_do_not_wait_for_each_other() -> None:
    given = one(0) + one(0.1, id=2)
    jobs = ["{ type = 'job', id = 1 }", "{ type = 'job', id = 2 }"]
    assert run("", given, ", ".join(jobs)).passed
    assert run("", given, ", ".join(reversed(jobs))).passed


def test_a_busy_entity_is_told_at_the_ceiling() -> None:
    given = "".join(one(at) for at in (0, 1, 2, 3))
    rules = "[defaults]\nquiet_s = 1\nceiling_s = 2.5"
    first = "{ type = 'job', id = 1, closed_by = 'ceiling', notifications = 3, due = 2.5 }"
    assert run(rules, given, f"{first}, {{ type = 'job', id = 1, closed_by = 'quiet', due = 4 }}").passed


def test_the_same_message_again_is_a_repeat_within_the_horizon_and_not_after_it() -> None:
    given = one(0, message="m") + one(0.5, message="m") + one(601, message="m") + one(650, message="m2")
    result = run("", given, "{ type = 'job', id = 1 }, { type = 'job', id = 1 }, { type = 'job', id = 1 }")
    assert (result.passed, result.verdicts) == (
        True,
        ["opened a window", "a repeat", "opened a window", "opened a window"],
    )


def test_the_horizon_is_that_of_the_pipeline() -> None:
    short = PipelineTimes(horizon_s=1, memory_s=900, max_ceiling_s=300)
    given = one(0, message="m") + one(1.5, message="m")
    assert run("", given, "{ type = 'job', id = 1, notifications = 2 }", times=short).passed


def test_what_is_filtered_makes_no_change() -> None:
    rules = "[defaults]\nignore_users = [9]\n[defaults.types.jobitem]\nkeep = false"
    given = one(0, user=9) + one(1, type="JobItem") + one(2, user=8, id=5)
    result = run(rules, given, "{ type = 'job', id = 5 }")
    assert (result.passed, result.verdicts) == (True, ["filtered", "filtered", "opened a window"])
    assert run(rules, one(0, user=9), "").passed


def test_the_rules_are_those_of_the_examples_account() -> None:
    rules = "[accounts.bolt]\nkeep = false"
    assert run(rules, one(0), "{ type = 'job', id = 1 }").passed
    assert run("[accounts.acme]\nkeep = false", one(0), "").passed


def test_a_late_notification_is_folded_by_when_it_happened() -> None:
    given = one(5, fields="{ s = ['b', 'c'] }") + one(5.1, happened=3, fields="{ s = ['a', 'b'] }")
    assert run("", given, "{ type = 'job', id = 1, fields = { s = ['a', 'c'] } }").passed


def test_no_window_of_an_example_is_split_by_a_cut() -> None:
    """Every entity has an instant every 15 minutes at which its window is cut: no business of an example."""
    rules = "[defaults]\nquiet_s = 299\nceiling_s = 300"
    given = "".join(one(at, id=number) for at in (0, 200) for number in range(40))
    expect = ", ".join(f"{{ type = 'job', id = {number}, closed_by = 'ceiling', due = 300 }}" for number in range(40))
    assert run(rules, given, expect).passed


def test_what_is_expected_and_is_not_there_and_the_other_way_round() -> None:
    result = run("", one(0), "{ type = 'job', id = 2, action = 'deleted' }, { type = 'job', id = 3 }")
    assert result.faults == [
        Fault("job/2", "change", "action deleted", None),
        Fault("job/3", "change", "any", None),
        Fault("job/1", "change", None, "action updated, fields none, notifications 1, closed_by quiet, due 2 s"),
    ]


@pytest.mark.parametrize(
    ("said", "expected", "got"),
    [
        ("action = 'deleted'", ("action", "deleted"), "updated"),
        ("fields = { s = [1, 3] }", ("fields", "{ s: 1 -> 3 }"), "{ s: 1 -> 2 }"),
        ("fields = { s = [true, 2] }", ("fields", "{ s: true -> 2 }"), "{ s: 1 -> 2 }"),
        ("fields = {}", ("fields", "none"), "{ s: 1 -> 2 }"),
        ("fields = ['due', 's']", ("fields", "due, s"), "s"),
        ("fields = []", ("fields", "none"), "s"),
        ("notifications = 2", ("notifications", "2"), "1"),
        ("closed_by = 'ceiling'", ("closed_by", "ceiling"), "quiet"),
        ("due = 2.5", ("due", "2.5 s"), "2 s"),
    ],
)
def test_a_difference_is_told_as_what_was_expected_and_what_came(
    said: str, expected: tuple[str, str], got: str
) -> None:
    result = run("", one(0, fields="{ s = [1, 2] }"), f"{{ type = 'job', id = 1, {said} }}")
    assert result.faults == [Fault("job/1", *expected, got)]
    assert tally([result]) == "0 examples passed, 1 failed"


def test_values_are_compared_as_a_webhook_carries_them() -> None:
    given = one(0, fields="{ on = [2026-01-02, { a = 1, b = [1.5] }] }")
    assert run("", given, "{ type = 'job', id = 1, fields = { on = ['2026-01-02', { b = [1.5], a = 1 }] } }").passed


GIVEN = {"at": "0", "type": "'job'", "id": "1", "action": "'updated'"}
EXPECTED = {"type": "'job'", "id": "1"}


def errors_of(**said: str) -> list[str]:
    """What is wrong with an example that says this; what it does not say is right."""
    all_said = {"account": "'acme'", "given": "[]", "expect": "[]", **said}
    text = "[[examples]]\n" + "".join(f"{name} = {value}\n" for name, value in all_said.items())
    return [str(finding).removeprefix("examples[0].") for finding in check(text).errors]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"name": "7"}, "name: expected a string, found 7"),
        ({"account": "'acm'"}, "account: no account acm in the configuration; did you mean acme?"),
        ({"account": "''"}, 'account: no account "" in the configuration; configured are: acme, bolt'),
        ({"name": "[0x1" + "0" * 5_000 + "]"}, "name: expected a string, found [a huge integer]"),
        ({"account": "7"}, "account: expected a string, found 7"),
        ({"givne": "[]"}, "givne: unknown key; did you mean given?"),
        ({"given": "'x'"}, f'given: expected an array, found "x"; write it like [{LIKE}]'),
        ({"given": "['x']"}, 'given[0]: expected a table, found "x"'),
        ({"expect": "true"}, 'expect: expected an array, found true; write it like [{ type = "job", id = 1 }]'),
    ],
)
def test_a_bad_example_is_an_error_of_the_file(said: dict[str, str], told: str) -> None:
    assert errors_of(**said) == [told]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("at", "-1", "expected seconds, from 0 to 86400, found -1; write it like 0.5"),
        ("at", "nan", "expected seconds, from 0 to 86400, found nan; write it like 0.5"),
        ("at", "true", "expected seconds, from 0 to 86400, found true; write it like 0.5"),
        ("happened", "'x'", 'expected seconds, from 0 to 86400, found "x"; write it like 0.5'),
        ("type", "'a b'", '"a b" is no entity type'),
        ("type", "1", "expected a string, found 1"),
        ("id", "'1'", 'expected an integer, found "1"'),
        ("id", "-1", "-1 is no id"),
        ("action", "'update'", '"update" is not known; did you mean updated?'),
        ("user", "'x'", 'expected an integer, found "x"'),
        ("user", "9223372036854775808", "9223372036854775808 is beyond what an id can be"),
        ("message", "''", "expected 1 to 200 characters"),
        ("message", "3", "expected a string, found 3"),
        ("message", "0x1" + "0" * 5_000, "expected a string, found a huge integer"),
        ("action", "[0x1" + "0" * 5_000 + "]", "[a huge integer] is not known; there are: created, updated, deleted"),
        ("fields", "['a']", 'expected a table, found ["a"]; write it like { status = ["old", "new"] }'),
        ("closed_by", "'quiet'", "unknown key; known here: at, type, id, action, user, fields, message, happened"),
    ],
)
def test_a_bad_notification_is_an_error_of_the_file(name: str, value: str, told: str) -> None:
    given = ", ".join(f"{key} = {spelled}" for key, spelled in {**GIVEN, name: value}.items())
    assert errors_of(given=f"[{{ {given} }}]") == [f"given[0].{name}: {told}"]


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("1", "expected the old and the new value; write it like"),
        ("[1]", "expected the old and the new value; write it like"),
        ("[1, 99999999999999999999]", "a webhook could not carry that: "),
    ],
)
def test_the_values_of_a_field_are_two_that_a_webhook_can_carry(pair: str, told: str) -> None:
    for where, known in (("given", GIVEN), ("expect", EXPECTED)):
        item = ", ".join(f"{key} = {spelled}" for key, spelled in {**known, "fields": f"{{ s = {pair} }}"}.items())
        (error,) = errors_of(**{where: f"[{{ {item} }}]"})
        assert error.startswith(f"{where}[0].fields.s: {told}")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("fields", "[1]", "fields[0]: expected a string, found 1"),
        ("closed_by", "'cut'", 'closed_by: "cut" is not known; there are: quiet, ceiling'),
        ("notifications", "'1'", 'notifications: expected an integer, found "1"'),
        ("notifications", "0", "notifications: no change is made of 0 notifications"),
        (
            *("notifications", "99999999999999999999"),
            "notifications: no change is made of 99999999999999999999 notifications",
        ),
        ("action", "'gone'", 'action: "gone" is not known; there are: created, updated, deleted'),
        ("due", "-0.1", "due: expected seconds, from 0 to 86400, found -0.1; write it like 0.5"),
    ],
)
def test_a_bad_expectation_is_an_error_of_the_file(name: str, value: str, told: str) -> None:
    expected = ", ".join(f"{key} = {spelled}" for key, spelled in {**EXPECTED, name: value}.items())
    assert errors_of(expect=f"[{{ {expected} }}]") == [f"expect[0].{told}"]


def test_what_is_missing_is_named() -> None:
    assert [str(error) for error in check("[[examples]]").errors] == [
        "examples[0]: account is missing",
        "examples[0]: given is missing",
        "examples[0]: expect is missing; write expect = [] if no change is expected",
    ]
    assert errors_of(given="[{}]") == [f"given[0]: {name} is missing" for name in GIVEN]
    assert errors_of(expect="[{}]") == [f"expect[0]: {name} is missing" for name in EXPECTED]
    assert [str(error) for error in check("examples = 3").errors] == [
        "examples: expected an array, found 3; write it like [[examples]]"
    ]
    assert [str(error) for error in check("examples = [3]").errors] == ["examples[0]: expected a table, found 3"]


def test_notifications_stand_in_the_order_of_the_log() -> None:
    given = f"[{one(1)}{one(0.5)}]"
    assert errors_of(given=given) == ["given[1]: at is before that of the one above; put them in the order of the log"]


def test_a_type_that_nobody_knows_is_a_warning_in_an_example_too() -> None:
    text = "[[examples]]\naccount = 'acme'\ngiven = [{ at = 0, type = 'jbo', id = 1, action = 'updated' }]\nexpect = []"
    (warning,) = check(text).warnings
    assert (warning.line, warning.key, warning.suggestion) == (3, "examples[0].given[0].type", "did you mean job?")


def test_what_is_given_is_what_the_core_reads() -> None:
    given = one(0.5, user=9, happened=3, fields="{ s = [1, 2] }")
    (item,) = run("", given, "").example.given
    read = notification_of(item)
    assert (item.entity, read.entity_type, read.entity_id, read.action) == ("job/1", "job", 1, "updated")
    assert (read.user_id, list(read.changeset), read.changeset_complete) == (9, [("s", 1, 2)], True)
    assert read.at == BEGINNING_MS // 1000 + 3


def test_rules_are_the_same_if_they_do_the_same() -> None:
    builtin = builtin_rules(300_000)
    spelled_out = check("[defaults]\nquiet_s = 2\n[defaults.types.job]\nceiling_s = 30").resolved["acme"]
    assert same_rules(read_rules(spelled_out, max_ceiling_ms=300_000), builtin)
    other = check("[defaults.types.job]\nceiling_s = 31").resolved["acme"]
    assert not same_rules(read_rules(other, max_ceiling_ms=300_000), builtin)
