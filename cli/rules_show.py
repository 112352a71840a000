"""`tradewind rules show` and `history`: reads what the topics know of rules, and prints it."""

from __future__ import annotations

import asyncio
import json as json_lines
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from cli.console import DEFAULT_CONFIG, OK, OUT, Config
from cli.options import read_past
from cli.progress import progress
from cli.rules_lines import differences, place_of, rules_lines, warn_foreign
from cli.rules_options import Accounts, Json
from cli.rules_print import line
from processors.rules import BUILTIN_VERSION, builtin_rules
from rules.history import RulesEntry, RulesLog, dated, read_rules_log, rules_at_time
from rules.tables import plain
from runtime.kafka import LogReader
from runtime.settings import Settings, read_settings
from schemas.errors import SettingsError
from schemas.moments import shown_time, utc_time
from schemas.suggestion import did_you_mean

DATED = 50
"""So many of an account's latest rules are told with the exact time."""


def show(
    *,
    account: Accounts = (),
    at: Annotated[str | None, Parameter(help="As it was then: 2026-03-01T08:00 (UTC), 2026-03-01, 2h, 3d.")] = None,
    json: Json = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show the rules of each account: since when they are in force, and what the processors have yet to reach."""
    settings = read_settings(config)
    now_ms = time.time_ns() // 1_000_000
    at_ms = None if at is None else read_past("--at", at, now_ms)
    return asyncio.run(_show(settings, account, at_ms=at_ms, now_ms=now_ms, as_lines=json))


def history(*, account: Accounts = (), json: Json = False, config: Config = DEFAULT_CONFIG) -> int:
    """Show all rules that each account has had, and what was different in each, the latest last."""
    now_ms = time.time_ns() // 1_000_000
    return asyncio.run(_history(read_settings(config), account, now_ms=now_ms, as_lines=json))


async def _show(settings: Settings, accounts: Sequence[str], *, at_ms: int | None, now_ms: int, as_lines: bool) -> int:
    """Print the rules of the accounts, now or at a time (Unix milliseconds); returns the exit code."""
    builtin = {"default": plain(builtin_rules(settings.pipeline.max_ceiling_ms).default), "types": {}}
    async with LogReader.open(settings.kafka, client_id="rules") as reader:
        log = await _read(reader, settings)
        for account in _chosen(settings, log, accounts):
            then = None if at_ms is None else await rules_at_time(reader, log, account, at_ms)
            entry = log.in_force(account) if at_ms is None else then
            entry = None if entry is None else await dated(reader, log, entry)
            waiting = log.waiting(account) if at_ms is None else ()
            if as_lines:
                waits = [_as_json(one, settings) for one in waiting]
                told = {**_as_json(entry, settings, account, builtin), "waiting": waits}
                sys.stdout.write(json_lines.dumps(told) + "\n")
            else:
                _print_rules(settings, log, account, entry, waiting, builtin=builtin, now_ms=now_ms)
    warn_foreign(log.foreign)
    return OK


async def _history(settings: Settings, accounts: Sequence[str], *, now_ms: int, as_lines: bool) -> int:
    """Print all rules that the accounts have had, the latest last; returns the exit code."""
    async with LogReader.open(settings.kafka, client_id="rules") as reader:
        log = await _read(reader, settings)
        # To know the very moment of one takes a read: of what is long past the time of the copy will do.
        exact = {
            account: [await dated(reader, log, one) for one in log.entries.get(account, ())[-DATED:]]
            for account in _chosen(settings, log, accounts)
        }
    for account, latest in exact.items():
        entries = [*log.entries.get(account, ())[:-DATED], *latest]
        if as_lines:
            for entry in entries:
                sys.stdout.write(json_lines.dumps(_as_json(entry, settings)) + "\n")
            continue
        line(OUT, account + _unknown(settings, account), style="bold")
        line(OUT, "  before: the built-in defaults" if entries else "  the built-in defaults, ever since")
        before: Mapping[str, Any] | None = None
        for entry in entries:
            line(OUT, f"  {entry.entry.version}  {_since(entry, now_ms)}, {place_of(entry)}{_late(entry)}")
            for told in differences(before, entry.entry.rules):
                line(OUT, f"    {told}")
            before = entry.entry.rules
    warn_foreign(log.foreign)
    return OK


async def _read(reader: LogReader, settings: Settings) -> RulesLog:
    with progress("reading", "records") as watch:
        return await read_rules_log(reader, settings, watch=watch)


def _chosen(settings: Settings, log: RulesLog, wanted: Sequence[str]) -> Sequence[str]:
    known = [*dict.fromkeys((*settings.accounts, *log.homes))]
    for name in wanted:
        if name not in known:
            raise SettingsError(
                f"--account: no account {name!r} is configured, nor ever had rules; "
                f"{did_you_mean(name, known, 'there are')}"
            )
    return [name for name in known if name in wanted or not wanted]


def _print_rules(
    settings: Settings,
    log: RulesLog,
    account: str,
    entry: RulesEntry | None,
    waiting: Sequence[RulesEntry],
    *,
    builtin: Mapping[str, Any],
    now_ms: int,
) -> None:
    line(OUT, account + _unknown(settings, account), style="bold")
    if entry is None:
        line(OUT, "  built-in defaults: no rules were applied" + (" yet" if waiting else ""))
    else:
        line(OUT, f"  rules {entry.entry.version}, {_since(entry, now_ms)}, {place_of(entry)}{_late(entry)}")
    for told in rules_lines(builtin if entry is None else entry.entry.rules):
        line(OUT, f"    {told}")
    position = log.positions.get(log.homes[account])
    for one in waiting:
        where = "have not begun" if position is None else f"are at offset {position}"
        line(OUT, f"  waiting: rules {one.entry.version}, {_since(one, now_ms)}, {place_of(one)}", style="yellow")
        line(OUT, f"    the processors have yet to reach them: they {where}")
        for told in differences(builtin if entry is None else entry.entry.rules, one.entry.rules):
            line(OUT, f"    {told}")
        entry = one


def _unknown(settings: Settings, account: str) -> str:
    return "" if account in settings.accounts else " (not in the configuration)"


def _since(entry: RulesEntry, now_ms: int) -> str:
    return f"since {'' if entry.is_exact else 'about '}{shown_time(entry.at_ms, now_ms)}"


def _late(entry: RulesEntry) -> str:
    return "" if entry.reached else " (the processors have yet to reach it)"


def _as_json(
    entry: RulesEntry | None, settings: Settings, account: str = "", builtin: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    if entry is None:
        facts: dict[str, Any] = {"account": account, "version": BUILTIN_VERSION, "builtin": True, "rules": builtin}
        facts |= {"topic": None, "partition": None, "offset": None, "since": None, "exact": True, "reached": True}
    else:
        since = utc_time(entry.at_ms).isoformat(timespec="milliseconds")
        facts = {**asdict(entry.entry), "builtin": False, "since": since.replace("+00:00", "Z")}
        facts |= {"exact": entry.is_exact, "reached": entry.reached}
    return facts | {"configured": facts["account"] in settings.accounts}
