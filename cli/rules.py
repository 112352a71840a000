"""`tradewind rules`: check and try a rules file, put it in force, and see what is and what was in force."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.prompt import Confirm

from cli.console import DEFAULT_CONFIG, ERR, FAILED, MISCONFIGURED, OK, OUT, Config
from cli.deadletters_options import progress
from cli.rules_print import count_findings, line, print_examples, print_findings
from cli.rules_show import read_time, show_history, show_rules
from processors.rules_apply import Applied, apply_rules, differing
from processors.rules_check import CheckedRules
from processors.rules_examples import run_examples
from processors.rules_file import check_rules_file, refuse_errors
from processors.rules_findings import did_you_mean
from processors.rules_history import RulesLog, read_rules_log
from processors.rules_tables import Surroundings
from runtime.kafka import LogReader
from runtime.settings import Settings, read_settings
from schemas.errors import SettingsError
from servicetrade.catalogue import BUILT_IN

rules_app = App(name="rules", help="Filters and waiting times per account.")

Accounts = Annotated[tuple[str, ...], Parameter(name="--account", help="Only this account (repeatable).", negative="")]
Json = Annotated[bool, Parameter(help="Print each as a line of JSON.", negative="")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask.", negative="")]


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


@rules_app.command
def apply(file: Path, /, *, account: Accounts = (), yes: Yes = False, config: Config = DEFAULT_CONFIG) -> int:
    """Put the rules in FILE in force for every account, from now on and without a restart.

    An account whose rules are what FILE says is left alone. Nothing is done if FILE is wrong or an example fails.
    """
    settings = read_settings(config)
    _check_accounts(account, settings.accounts)
    checked = check_rules_file(file, surroundings(settings))
    print_findings(ERR, file, checked)
    if checked.errors:
        line(ERR, f"{file} is refused, and nothing was applied: {count_findings(checked)}")
        return MISCONFIGURED
    results = run_examples(checked.examples, checked.resolved, settings.pipeline)
    if not all(result.passed for result in results):
        print_examples(ERR, file, results, all_of_them=False)
        line(ERR, "nothing was applied")
        return FAILED
    return _apply(settings, checked, [name for name in settings.accounts if name in account or not account], yes=yes)


@rules_app.command
def show(
    *,
    account: Accounts = (),
    at: Annotated[str | None, Parameter(help="As it was then: 2026-03-01T08:00 (local time), or 2h, 3d ago.")] = None,
    json: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show the rules of each account: since when they are in force, and what the processors have yet to reach."""
    settings = read_settings(config)
    now_ms = time.time_ns() // 1_000_000
    at_ms = None if at is None else read_time(at, now_ms)
    return asyncio.run(show_rules(settings, account, at_ms=at_ms, now_ms=now_ms, as_lines=json))


@rules_app.command
def history(*, account: Accounts = (), json: Json = False, config: Config = DEFAULT_CONFIG) -> int:
    """Show all rules that each account has had, and what was different in each, the latest last."""
    now_ms = time.time_ns() // 1_000_000
    return asyncio.run(show_history(read_settings(config), account, now_ms=now_ms, as_lines=json))


def surroundings(settings: Settings) -> Surroundings:
    """What a rules file is checked against, by this configuration."""
    types = {name: known.sends_webhooks for name, known in BUILT_IN.items()}
    types |= {name: known.sends_webhooks for name, known in settings.servicetrade.types.items() if name not in types}
    return Surroundings(accounts=tuple(settings.accounts), max_ceiling_ms=settings.pipeline.max_ceiling_ms, types=types)


def _check_accounts(wanted: Sequence[str], known: Mapping[str, object]) -> None:
    for name in wanted:
        if name not in known:
            raise SettingsError(
                f"--account: no account {name!r} in the configuration; {did_you_mean(name, known, 'there are')}"
            )


def _apply(settings: Settings, checked: CheckedRules, accounts: Sequence[str], *, yes: bool) -> int:
    log = asyncio.run(_read(settings, accounts))
    largest_ms = settings.pipeline.max_ceiling_ms
    wanted = {name: checked.resolved[name] for name in accounts}
    chosen = differing(log, wanted, max_ceiling_ms=largest_ms)
    silent = sorted(checked.silent & chosen.keys())
    if silent and not yes and not _confirmed(silent):
        line(ERR, "nothing was applied")
        return FAILED
    for name in accounts:
        if name not in chosen:
            line(OUT, _unchanged(log, name))
    if chosen:
        asyncio.run(apply_rules(settings.kafka, chosen, told=lambda applied: line(OUT, _applied(log, applied))))
    return OK


async def _read(settings: Settings, accounts: Sequence[str]) -> RulesLog:
    async with LogReader.open(settings.kafka, client_id="rules") as reader:
        with progress("reading") as watch:
            return await read_rules_log(reader, settings, accounts, watch=watch)


def _confirmed(silent: Sequence[str]) -> bool:
    said = f"These rules filter everything of {', '.join(silent)}: no change would come of any webhook from now on."
    if not sys.stdin.isatty():
        raise SettingsError(f"{said} There is no terminal to ask on: say --yes if that is meant")
    try:
        return Confirm.ask(f"{said} Apply them?", default=False, console=ERR)
    except EOFError:
        return False


def _applied(log: RulesLog, applied: Applied) -> str:
    partition, before = applied.position.partition, log.latest(applied.account)
    where = f"{partition.topic}[{partition.number}] offset {applied.position.offset}"
    was = "the built-in defaults" if before is None else f"rules {before.entry.version}"
    return f"{applied.account}: rules {applied.version} from {where} on, after {was}"


def _unchanged(log: RulesLog, account: str) -> str:
    latest = log.latest(account)
    if latest is None:
        return f"{account}: unchanged, the built-in defaults are what the file says"
    where = f"{latest.entry.topic}[{latest.entry.partition}] offset {latest.entry.offset}"
    late = "" if latest.reached else ", where the processors have yet to come"
    return f"{account}: unchanged, rules {latest.entry.version} from {where} on{late}"


def _accounts(names: Mapping[str, Any]) -> str:
    return f"{len(names)} account{'' if len(names) == 1 else 's'}"


def _counted(checked: CheckedRules) -> str:
    return f", with {count_findings(checked)}" if checked.warnings else ""
