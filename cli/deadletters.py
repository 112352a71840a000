"""`tradewind deadletters`: look at what could not be used, and send it back or drop it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import App, Parameter

from cli.console import DEFAULT_CONFIG, FAILED, OK, Config
from cli.deadletters_look import SHOWN, list_all, show_one
from cli.deadletters_options import NO_FILTERS, Filters, LetterName, check_limit, read_filters, read_ids
from cli.messages import complain, note
from runtime.settings import read_settings

deadletters_app = App(name="deadletters", help="What could not be used: look at it, send it back, or drop it.")
# In files of their own: looking takes no store.
deadletters_app.command(
    "cli.deadletters_resolve:redrive", name="redrive", help="Send dead letters back to whoever gave them up."
)
deadletters_app.command("cli.deadletters_resolve:drop", name="drop", help="Close dead letters without using them.")


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
    letter: LetterName,
    /,
    *,
    raw: Annotated[bool, Parameter(help="Write its bytes as they are, and nothing else.", negative="")] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Show all of a dead letter: why it could not be used, where it comes from, its headers and its bytes."""
    (letter_id,) = read_ids([letter])
    return asyncio.run(show_one(read_settings(config), letter_id, raw=raw))
