"""The rules file: what it resolves to, and what it says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.rules import read_rules
from processors.rules_file import read_rules_file
from schemas.errors import SettingsError

CEILING_MS = 60_000
ACCOUNTS = {"acme": None, "bolt": None}
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
        ("[defaults]\nquite_s = 1", r"rules\.toml:2: defaults\.quite_s: unknown key; did you mean quiet_s\?"),
        ("[accounts.acme]\nkeep = 1", r"rules\.toml:2: accounts\.acme\.keep: expected true or false, found 1"),
        ("[defaults]\nactions = ['moved']", r"rules\.toml:2: defaults\.actions: must be one of 'created'"),
        ("[accounts.nobody]\nkeep = true", r"accounts\.nobody: no such account in the configuration"),
        ("[defaults]\nceiling_s = 61", r"for account acme: default: 0 < quiet_ms <= ceiling_ms <= 60000"),
        ("[defaults]\nquiet_s = 40", r"for account acme: default: 0 < quiet_ms"),
        ("[defaults]\nquiet_s = 0.0001", r"for account acme: default: 0 < quiet_ms"),
        ("[defaults\nkeep = true", r"rules\.toml: not valid TOML: .*line 1"),
        ("[defaults]\nquiet_s = nan", r"rules\.toml.*quiet_s"),
        ("[defaults]\nceiling_s = inf", r"rules\.toml.*ceiling_s"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_reason(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=told):
        read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)


def test_a_type_is_found_however_the_file_spells_its_case(file: Path) -> None:
    """Entity types are lower case in the core; a table [defaults.types.Job] must not be a rule for nothing."""
    file.write_text("[defaults.types.Job]\nkeep = false")
    try:
        resolved = read_rules_file(file, ACCOUNTS, max_ceiling_ms=CEILING_MS)
    except SettingsError as refused:
        assert "Job" in str(refused)  # noqa: PT017 - to refuse it is as good
    else:
        assert not read_rules(resolved["acme"], max_ceiling_ms=CEILING_MS).of("job").keep
