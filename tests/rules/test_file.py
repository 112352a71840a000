"""The rules file: what it resolves to, and what it says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.rules import builtin_rules, read_rules
from rules.file import check_rules_file, read_rules_file
from rules.tables import Surroundings
from schemas.errors import SettingsError

CEILING_MS = 60_000
ACCOUNTS = {"acme": None, "bolt": None}
TYPES = {"job": True, "asset": False, "clockevent": None}
AROUND = Surroundings(accounts=tuple(ACCOUNTS), max_ceiling_ms=CEILING_MS, types=TYPES)
BUILTIN: dict[str, object] = {
    "keep": True,
    "actions": None,
    "fields": None,
    "ignore_users": [],
    "quiet_ms": 2_000,
    "ceiling_ms": 30_000,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules.toml"


def test_an_empty_file_gives_every_account_the_built_in_rules_in_full(file: Path) -> None:
    file.write_text("")
    resolved = read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)
    assert resolved == {name: {"default": BUILTIN, "types": {}} for name in ACCOUNTS}


def test_what_stands_further_right_wins(file: Path) -> None:
    file.write_text(
        """
        [defaults]
        quiet_s = 1
        ignore_users = [9, 3]
        [defaults.types.job]
        quiet_s = 4
        actions = ["updated", "created"]
        [accounts.acme]
        ceiling_s = 20.5
        [accounts.acme.types.job]
        quiet_s = 8
        [accounts.acme.types.asset]
        keep = false
        """
    )
    resolved = read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)
    base = BUILTIN | {"quiet_ms": 1_000, "ignore_users": [3, 9]}
    assert resolved["bolt"] == {
        "default": base,
        "types": {"job": base | {"quiet_ms": 4_000, "actions": ["created", "updated"]}},
    }
    mine = base | {"ceiling_ms": 20_500}
    assert resolved["acme"] == {
        "default": mine,
        "types": {
            "asset": mine | {"keep": False},
            "job": mine | {"quiet_ms": 8_000, "actions": ["created", "updated"]},
        },
    }


def test_the_resolved_rules_are_what_the_core_reads(file: Path) -> None:
    file.write_text("[defaults]\nquiet_s = 0.3\nfields = ['status']\n[defaults.types.job]\nkeep = false")
    rules = read_rules(read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)["acme"], max_ceiling_ms=CEILING_MS)
    assert (rules.default.quiet_ms, rules.default.fields) == (300, frozenset({"status"}))
    assert not rules.of("job").keep


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[defaults]\nquite_s = 1", ":2: defaults.quite_s: unknown key; did you mean quiet_s?"),
        ("[default]\nkeep = true", ":1: default: unknown key; did you mean defaults?"),
        ("rules = 1", ":1: rules: unknown key; known here: defaults, accounts, examples"),
        ("keep = false", ":1: keep: unknown key; it belongs below [defaults] or [accounts.NAME]"),
        ("[types.job]", ":1: types: unknown key; it belongs below [defaults] or [accounts.NAME]"),
        ("defaults = 7", ":1: defaults: expected a table, found 7"),
        ("accounts = []", ":1: accounts: expected a table, found []"),
        ("[accounts]\nacme = true", ":2: accounts.acme: expected a table, found true"),
        ("[defaults]\ntypes = 'job'", ':2: defaults.types: expected a table, found "job"'),
        ("[accounts.acme]\nkeep = 1", ":2: accounts.acme.keep: expected true or false, found 1"),
        ("[accounts.acme]\nkeep = {}", ":2: accounts.acme.keep: expected true or false, found a table"),
        ("[accounts.acmee]", ":1: accounts.acmee: no such account in the configuration; did you mean acme?"),
        ("[accounts.zzz]", ":1: accounts.zzz: no such account in the configuration; configured are: acme, bolt"),
        ("[defaults]\nactions = ['update']", ':2: defaults.actions[0]: "update" is no action; did you mean updated?'),
        (
            "[defaults]\nactions = [\n'created',\n'moved']",
            ':4: defaults.actions[1]: "moved" is no action; there are: created, updated, deleted',
        ),
        (
            "[defaults]\nactions = 'created'",
            ':2: defaults.actions: expected an array, found "created"; write it like ["created", "updated"]',
        ),
        ("[defaults]\nfields = [1]", ":2: defaults.fields[0]: expected a string, found 1"),
        (
            "[defaults]\nignore_users = ['9']",
            ':2: defaults.ignore_users[0]: expected an integer, found "9"; leave the quotes out',
        ),
        ("[defaults]\nignore_users = [true]", ":2: defaults.ignore_users[0]: expected an integer, found true"),
        (
            "[defaults]\nignore_users = [9223372036854775808]",
            ":2: defaults.ignore_users[0]: 9223372036854775808 is beyond what an id can be",
        ),
        (
            "[defaults]\nceiling_s = 61",
            (
                ":2: defaults.ceiling_s: 61 s is above the largest ceiling of the pipeline, 60 s; "
                "write at most 60, or raise max_ceiling_s in [pipeline] of the configuration"
            ),
        ),
        (
            "[defaults]\nquiet_s = 40",
            (
                ":2: defaults.quiet_s: a quiet period of 40 s is above the ceiling of 30 s that is built in; "
                "write ceiling_s = 40 or more beside it"
            ),
        ),
        (
            "[defaults]\nceiling_s = 1.5",
            (
                ":2: defaults.ceiling_s: a ceiling of 1.5 s is below the quiet period of 2 s that is built in; "
                "write ceiling_s = 2 or more, or quiet_s = 1.5 or less beside it"
            ),
        ),
        (
            "[defaults]\nquiet_s = 5\n[accounts.bolt.types.job]\nceiling_s = 3",
            (
                ":4: accounts.bolt.types.job.ceiling_s: a ceiling of 3 s is below the quiet period of 5 s of line 2; "
                "write ceiling_s = 5 or more, or quiet_s = 3 or less beside it"
            ),
        ),
        (
            "[defaults]\nceiling_s = 5\n[accounts.bolt.types.job]\nquiet_s = 100",
            (
                ":4: accounts.bolt.types.job.quiet_s: a quiet period of 100 s is above the ceiling of 5 s of line 2; "
                "write at most 5"
            ),
        ),
        ("[defaults]\nquiet_s = 0.0001", ":2: defaults.quiet_s: 0.0001 s is no time to wait; write 0.001 or more"),
        ("[defaults]\nquiet_s = 0", ":2: defaults.quiet_s: 0 s is no time to wait; write 0.001 or more"),
        (
            "[defaults]\nquiet_s = '2s'",
            ':2: defaults.quiet_s: expected a number of seconds, found "2s"; write it like 2 or 0.5',
        ),
        (
            "[defaults]\nquiet_s = nan",
            ":2: defaults.quiet_s: expected a number of seconds, found nan; write it like 2 or 0.5",
        ),
        (
            "[defaults]\nceiling_s = inf",
            ":2: defaults.ceiling_s: expected a number of seconds, found inf; write it like 2 or 0.5",
        ),
        (
            "[defaults.types.Job]\nkeep = false",
            ":1: defaults.types.Job: no entity type is spelled so: they are lower case; did you mean job?",
        ),
        ("[defaults.types.'a b']", ":1: defaults.types.a b: no entity type is spelled so: they are lower case"),
        (
            "[defaults\nkeep = true",
            ":1: not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 10)",
        ),
        (
            "[defaults]\nkeep = True",
            ":2: not valid TOML: Invalid value (at line 2, column 8); write true, in lower case",
        ),
        ("[defaults]\n\nkeep =", ":3: not valid TOML: Invalid value (at end of document)"),
        ("a = " + "[" * 5_000, ":1: nested more than 100 levels deep"),
        ("[defaults]\nfields = [\n" + "[" * 5_000, ":3: nested more than 100 levels deep"),
        ("[defaults]\na" + ".a" * 200 + " = 1", ":2: nested more than 100 levels deep"),
        ("# 1\n[defaults]\nquiet_s = 1" + "0" * 5_000, ":3: a number of more than 4,300 digits"),
        (
            "[defaults]\nquiet_s = 1" + "0" * 400,
            ":2: defaults.quiet_s: a huge integer s is longer than anything can wait; write it like 2 or 0.5",
        ),
        (
            "[defaults]\nquiet_s = 1e306",
            ":2: defaults.quiet_s: 1e+306 s is longer than anything can wait; write it like 2 or 0.5",
        ),
        (
            "[defaults]\nignore_users = [0x1" + "0" * 5_000 + "]",
            ":2: defaults.ignore_users[0]: a huge integer is beyond what an id can be",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_the_key_the_reason_and_a_suggestion(
    file: Path, text: str, told: str
) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)
    assert str(refused.value) == f"{file}{told}"


def test_all_that_is_wrong_is_told_in_the_order_of_the_file_and_each_thing_once(file: Path) -> None:
    file.write_text(
        "[defaults]\nquiet_s = 40\nkeep = 1\n[accounts.acme]\nfeilds = []\n[[examples]]\nname = 'x'\naccount = 'nobody'"
    )
    with pytest.raises(SettingsError) as refused:
        read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)
    told = [line.removeprefix(f"{file}:").split(": ")[0:2] for line in str(refused.value).splitlines()]
    assert told == [
        ["2", "defaults.quiet_s"],
        ["3", "defaults.keep"],
        ["5", "accounts.acme.feilds"],
        ["6", "examples[0]"],
        ["6", "examples[0]"],
        ["8", "examples[0].account"],
    ]


def test_a_time_that_makes_no_sense_is_not_told_again_where_it_is_used(file: Path) -> None:
    file.write_text("[defaults]\nquiet_s = 'long'\nceiling_s = 1")
    found = check_rules_file(file, Surroundings(accounts=("acme",), max_ceiling_ms=CEILING_MS))
    assert [finding.key for finding in found.errors] == ["defaults.quiet_s"]


def test_what_the_file_leaves_out_is_never_above_the_largest_ceiling_of_the_pipeline(file: Path) -> None:
    file.write_text("")
    resolved = read_rules_file(file, ACCOUNTS, max_ceiling_ms=1_500)
    assert read_rules(resolved["acme"], max_ceiling_ms=1_500).default == builtin_rules(1_500).default


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_line_ends_and_the_byte_order_mark_of_windows_are_read(file: Path, mark: str) -> None:
    file.write_bytes(f"{mark}[defaults]\r\nquiet_s = 1\r\nkeep = 3\r\n".encode())
    with pytest.raises(SettingsError, match=r":3: defaults\.keep"):
        read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"rules\.toml: cannot be read: No such file"):
        read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"rules\.toml: not UTF-8"):
        read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)


# -- warnings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[defaults.types.jobb]", "1: defaults.types.jobb: no entity type jobb is documented; did you mean job?"),
        (
            "[defaults.types.zebra]",
            (
                "1: defaults.types.zebra: no entity type zebra is documented; "
                "[servicetrade.types] of the configuration can make it known"
            ),
        ),
        (
            "[defaults.types.asset]",
            "1: defaults.types.asset: ServiceTrade is not known to send webhooks about the type asset",
        ),
        (
            "[defaults.types.job]\nactions = []",
            "2: defaults.types.job.actions: keeps nothing; write keep = false if that is meant",
        ),
        (
            "[defaults.types.job]\nfields = []",
            (
                "2: defaults.types.job.fields: keeps no update that says what changed; "
                'write actions = ["created", "deleted"] if no updates are wanted'
            ),
        ),
        (
            "[accounts.acme]\nkeep = false",
            (
                "1: accounts.acme: everything of account acme is filtered: no change would come of any webhook; "
                "keep at least one entity type"
            ),
        ),
    ],
)
def test_what_may_not_be_meant_is_a_warning_and_the_file_is_good(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    found = check_rules_file(file, AROUND)
    assert (found.errors, [f"{finding.line}: {finding}" for finding in found.warnings]) == ([], [told])
    assert found.resolved.keys() == set(AROUND.accounts)


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ("[defaults]\nkeep = false", {"acme", "bolt"}),
        ("[defaults]\nactions = []", {"acme", "bolt"}),
        ("[defaults]\nkeep = false\n[defaults.types.job]\nactions = []", {"acme", "bolt"}),
        ("[defaults]\nkeep = false\n[defaults.types.job]\nkeep = true", set()),
        ("[defaults]\nkeep = false\n[accounts.bolt]\nkeep = true", {"acme"}),
        ("[defaults.types.job]\nkeep = false", set()),
    ],
)
def test_the_accounts_of_which_nothing_is_kept_are_known(file: Path, text: str, silent: set[str]) -> None:
    file.write_text(text)
    found = check_rules_file(file, AROUND)
    assert found.silent == silent
    assert len([one for one in found.warnings if "everything of account" in one.reason]) == len(silent)
