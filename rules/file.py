"""The rules file: a person's TOML in version control, and what each account's rules are by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rules.check import CheckedRules, check_rules
from rules.findings import Finding
from rules.tables import Surroundings
from schemas.errors import SettingsError


def check_rules_file(path: Path, around: Surroundings) -> CheckedRules:
    """Everything that is wrong with the file, and the rules if nothing is.

    Raises:
        SettingsError: it cannot be read at all.
    """
    try:
        # Some editors put a byte order mark first, which tomllib would take for a key.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8: {error}") from error
    # A file with the line ends of Windows has the same lines.
    return check_rules(text.replace("\r\n", "\n"), around)


def read_rules_file(path: Path, accounts: Mapping[str, object], *, max_ceiling_ms: int) -> dict[str, dict[str, Any]]:
    """The resolved rules of every configured account; examples in the file are read, but not run.

    Raises:
        SettingsError: names the file, and of everything that is wrong the line, the key and the reason.
    """
    checked = check_rules_file(path, Surroundings(accounts=tuple(accounts), max_ceiling_ms=max_ceiling_ms))
    refuse_errors(path, checked.errors)
    return dict(checked.resolved)


def refuse_errors(path: Path, errors: Sequence[Finding]) -> None:
    """Raise a SettingsError with all of the errors, each on a line of its own; nothing if there are none."""
    if errors:
        raise SettingsError("\n".join(located(path, finding) for finding in errors))


def located(path: Path, finding: Finding) -> str:
    """A finding with its place, as editors and compilers spell it: FILE:LINE: what is wrong."""
    return f"{path}:{finding.line}: {finding}" if finding.line else f"{path}: {finding}"
