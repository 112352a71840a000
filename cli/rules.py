"""`tradewind rules`: check and try a rules file here; the commands that need a broker stand beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from cli.console import DEFAULT_CONFIG, ERR, FAILED, MISCONFIGURED, OK, OUT, Config
from cli.rules_options import surroundings
from cli.rules_print import count_findings, line, print_examples, print_findings
from rules.check import CheckedRules
from rules.examples import run_examples
from rules.file import check_rules_file, refuse_errors
from runtime.settings import read_settings

rules_app = App(name="rules", help="Filters and waiting times per account.")

# In files of their own: what needs no broker shall not wait for its driver.
rules_app.command(
    "cli.rules_apply:apply", name="apply", help="Put the rules in FILE in force, from now on and without a restart."
)
rules_app.command("cli.rules_show:show", name="show", help="Show the rules of each account, and what is to come.")
rules_app.command("cli.rules_show:history", name="history", help="Show all rules that each account has had.")


@rules_app.command
def check(file: Path, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """Find everything that is wrong with the rules in FILE, and run the examples in it; no broker is needed.

    Exit code 2 if FILE would be refused, 1 if an example fails.
    """
    settings = read_settings(config)
    checked = check_rules_file(file, surroundings(settings))
    print_findings(OUT, file, checked)
    if checked.errors:
        line(OUT, f"{file} would be refused: {count_findings(checked)}")
        return MISCONFIGURED
    results = run_examples(checked.examples, checked.resolved, settings.pipeline)
    print_examples(OUT, file, results, all_of_them=False)
    failed = not all(result.passed for result in results)
    if not failed:
        line(OUT, f"{file} is fine for {_accounts(checked.resolved)}" + _counted(checked))
    return FAILED if failed else OK


@rules_app.command(name="test")
def run_tests(file: Path, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """Run the [[examples]] in FILE: given these notifications, expect these changes; no broker is needed.

    Exit code 1 if one fails, or there is none; 2 if FILE would be refused.
    """
    settings = read_settings(config)
    checked = check_rules_file(file, surroundings(settings))
    refuse_errors(file, checked.errors)
    results = run_examples(checked.examples, checked.resolved, settings.pipeline)
    print_examples(OUT, file, results, all_of_them=True)
    if not results:
        line(ERR, f"{file} has no [[examples]]")
    return OK if results and all(result.passed for result in results) else FAILED


def _accounts(names: Mapping[str, Any]) -> str:
    return f"{len(names)} account{'' if len(names) == 1 else 's'}"


def _counted(checked: CheckedRules) -> str:
    return f", with {count_findings(checked)}" if checked.warnings else ""
