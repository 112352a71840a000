"""`tradewind deadletters`: look at what could not be used, and send it back or drop it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import App, Parameter

from cli.console import DEFAULT_CONFIG, FAILED, OK, Config
from cli.deadletters_look import SHOWN, list_all, show_one
from cli.deadletters_options import NO_FILTERS, Filters, check_limit, complain, note, read_filters, read_ids
from cli.deadletters_resolve import Order, resolve
from runtime.settings import read_settings
from schemas.errors import SettingsError

deadletters_app = App(name="deadletters", help="What could not be used: look at it, send it back, or drop it.")

Letters = Annotated[str, Parameter(help="PARTITION:OFFSET, as `tradewind deadletters list` shows it.")]
Limit = Annotated[int | None, Parameter(help="At most so many, the oldest of a partition first.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask.", negative="")]


@deadletters_app.command(name="list")
def list_letters(
    *,
    filters: Filters = NO_FILTERS,
    all: Annotated[bool, Parameter(help="Also those that were redriven or dropped.", negative="")] = False,  # noqa: A002
    limit: Annotated[int | None, Parameter(help=f"At most so many, the latest (default in a table: {SHOWN}).")] = None,
    json: Annotated[bool, Parameter(help="Print each as a line of JSON.", negative="")] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show the open dead letters, the latest last; exit code 1 if there are filters and none is like that."""
    settings, wanted = read_settings(config), read_filters(filters)
    check_limit(limit)
    if asyncio.run(list_all(settings, wanted, resolved=all, limit=limit, as_lines=json)):
        return OK
    kind = "dead letter" if all else "open dead letter"
    if filters != NO_FILTERS:
        complain(f"no {kind} is like that")
        return FAILED
    note(f"there is no {kind}")
    return OK


@deadletters_app.command
def show(
    letter: Letters,
    /,
    *,
    raw: Annotated[bool, Parameter(help="Write its bytes as they are, and nothing else.", negative="")] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show all of a dead letter: why it could not be used, where it comes from, its headers and its bytes."""
    (letter_id,) = read_ids([letter])
    return asyncio.run(show_one(read_settings(config), letter_id, raw=raw))


@deadletters_app.command
def redrive(
    *letters: Letters,
    filters: Filters = NO_FILTERS,
    limit: Limit = None,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Send dead letters back to whoever gave them up: LETTERS, or those like that, or all that are open.

    Only that sink or subscriber gets them. What fails again comes back with its count of redrives raised.
    """
    return resolve(read_settings(config), Order(act="redrive", letters=letters, filters=filters, limit=limit), yes=yes)


@deadletters_app.command
def drop(
    *letters: Letters,
    reason: Annotated[str, Parameter(help="Why; it is kept beside the letter.")],
    filters: Filters = NO_FILTERS,
    limit: Limit = None,
    yes: Yes = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Close dead letters without using them: LETTERS, or those like that, or all that are open.

    Their bytes stay until retention removes them: `list --all` and `show` know them.
    """
    if not reason.strip():
        raise SettingsError("--reason: says nothing")
    order = Order(act="drop", letters=letters, filters=filters, limit=limit, reason=reason)
    return resolve(read_settings(config), order, yes=yes)
