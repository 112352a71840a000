"""`tradewind rules apply`: puts a rules file in force, unless something is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.console import DEFAULT_CONFIG, ERR, FAILED, MISCONFIGURED, OK, OUT, Config
from cli.messages import confirmed
from cli.progress import progress
from cli.rules_options import Accounts, surroundings
from cli.rules_print import count_findings, line, print_examples, print_findings
from rules.apply import Applied, apply_rules, differing
from rules.check import CheckedRules
from rules.examples import run_examples
from rules.file import check_rules_file
from rules.history import RulesLog, read_rules_log
from runtime.kafka import LogReader
from runtime.settings import Settings, read_settings
from schemas.errors import SettingsError
from schemas.suggestion import did_you_mean

Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask.", negative="")]


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
        with progress("reading", "records") as watch:
            return await read_rules_log(reader, settings, accounts, watch=watch)


def _confirmed(silent: Sequence[str]) -> bool:
    said = f"These rules filter everything of {', '.join(silent)}: no change would come of any webhook from now on."
    return confirmed("Apply them?", because=said)


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
