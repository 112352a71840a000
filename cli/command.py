"""`tradewind command`: have an API call performed over the shared session, and look at what came of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.markup import escape

from cli.command_order import Desk, Order, read_order, require_account
from cli.console import DEFAULT_CONFIG, FAILED, OK, OUT, Config
from cli.messages import complain
from runtime.database import open_database
from runtime.kafka import LogReader, Position, Producer
from runtime.settings import Settings, read_settings
from schemas.command import Command, CommandResult, Method, decode_result
from schemas.encoding import encode
from schemas.moments import shown_second
from schemas.printable import printable
from sinks.command_store import CommandStore

command_app = App(name="command", help="Have an API call performed on ServiceTrade.")

Account = Annotated[str, Parameter(help="The account, as it is called in the configuration.")]
AsJson = Annotated[bool, Parameter(help="Print JSON, and nothing else.", negative="")]

_STYLES = {"done": "green", "failed": "red", "expired": "yellow", "uncertain": "bold red"}
_CLIENT = "tradewind-command"


@command_app.command
def send(
    *,
    account: Account,
    method: Annotated[Method, Parameter(help="POST creates, PUT updates, DELETE deletes.")],
    type: Annotated[str, Parameter(help="Type of the entity: job.")],  # noqa: A002 - the option's name
    id: Annotated[str | None, Parameter(help="Id of the entity, with PUT and DELETE.")] = None,  # noqa: A002
    body: Annotated[
        str | None, Parameter(help="What to send: JSON, @FILE, or - for stdin.", allow_leading_hyphen=True)
    ] = None,
    command_id: Annotated[
        str | None,
        Parameter(help="Id of the command (default: a new one). One that was used before is not performed again."),
    ] = None,
    not_after: Annotated[
        str | None, Parameter(help="Send nothing after this: +10m, 2026-03-01T08:00 (UTC), or Unix seconds.")
    ] = None,
    check: Annotated[
        str | None,
        Parameter(
            help='How to find out whether a POST was performed if its answer is lost: {"equals": {"name": "…"}}, JSON, '
            "@FILE, or - for stdin.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    wait: Annotated[bool, Parameter(help="Whether to wait for the result.")] = True,
    timeout: Annotated[float, Parameter(help="Seconds to wait.")] = 60.0,
    json: AsJson = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Send a command to its sink; exit code 1 unless it is done, or was only to be sent."""
    settings = read_settings(config)
    order = Order(
        account=account,
        method=method,
        type=type,
        id=id,
        body=body,
        command_id=command_id,
        not_after=not_after,
        check=check,
    )
    command = read_order(order, settings)
    return asyncio.run(_send(settings, command, wait_s=timeout if wait else None, json=json))


@command_app.command
def show(command_id: str, /, *, account: Account, json: AsJson = False, config: Config = DEFAULT_CONFIG) -> int:
    """Show what the store knows about the command COMMAND_ID; exit code 1 if that is nothing."""
    settings = read_settings(config)
    require_account(settings, account)
    row = asyncio.run(_read(settings, account, command_id))
    if row is None:
        complain(f"{command_id}: nothing is known: no command sink has taken it up yet, or its id is another")
        return FAILED
    result = None if row.result is None else decode_result(row.result.encode())
    if json:
        _print_json({"state": row.state, "attempts": row.attempts, "sent_ms": row.sent_ms, "result": result})
        return OK
    for name, value in _facts(row):
        OUT.print(f"[dim]{name:<10}[/]{escape(printable(value))}", highlight=False, soft_wrap=True)
    if result is not None:
        _print_result(result)
    return OK


async def _send(settings: Settings, command: Command, *, wait_s: float | None, json: bool) -> int:
    async with (
        Producer.open(settings.kafka, client_id=_CLIENT) as producer,
        LogReader.open(settings.kafka, client_id=_CLIENT) as reader,
    ):
        desk = Desk(settings, command, producer, reader)
        position = await desk.send()
        if not json:
            _print_sent(command, position, alone=wait_s is None)
        result = None if wait_s is None else await desk.result(wait_s)
    if json:
        _print_json(result or {"command_id": command.id, "account": command.account, "outcome": None})
    elif result is not None:
        _print_result(result)
    if wait_s is None:
        return OK
    if result is None:
        complain(
            f"no result within {wait_s:g} s; the command stays, and is performed when its sink gets to it: "
            f"`tradewind command show {command.id} --account {command.account}`"
        )
    return OK if result is not None and result.outcome == "done" else FAILED


async def _read(settings: Settings, account: str, command_id: str) -> Any:
    async with open_database(settings.store, create=False) as database:
        return await CommandStore(database).read(account, command_id)


def _print_sent(command: Command, position: Position, *, alone: bool) -> None:
    if alone:
        OUT.print(command.id, highlight=False, markup=False, soft_wrap=True)
        return
    where = f"{position.partition.topic}[{position.partition.number}] offset {position.offset}"
    OUT.print(f"{command.id} [dim]is at {escape(where)}[/]", highlight=False, soft_wrap=True)


def _print_result(result: CommandResult) -> None:
    what = f"{result.method} {result.entity_type}" + (f" {result.entity_id}" if result.entity_id else "")
    status = f", HTTP {result.status}" if result.status is not None else ""
    found = ", found by its check" if result.checked and result.outcome == "done" else ""
    style = _STYLES[result.outcome]
    OUT.print(
        f"[{style}]{result.outcome}[/]: {escape(printable(what))}{status}{found}", highlight=False, soft_wrap=True
    )
    for message in result.messages:
        OUT.print(f"  {escape(printable(message))}", highlight=False, soft_wrap=True)
    if result.outcome == "uncertain":
        OUT.print(
            "  it may or may not have been performed: look at ServiceTrade before it is sent anew", soft_wrap=True
        )
    if result.entity is not None:
        OUT.print_json(encode(result.entity).decode())


def _facts(row: Any) -> Iterator[tuple[str, str]]:
    yield "command", row.command_id
    yield "account", row.account
    yield "does", f"{row.method} {row.entity_type}" + (f" {row.entity_id}" if row.entity_id else "")
    waiting = {"open": "open: not sent yet", "sent": "sent: what came of it is not known yet"}
    yield "state", waiting.get(row.state, row.state)
    yield "attempts", str(row.attempts)
    if row.sent_ms is not None:
        yield "last sent", f"{shown_second(row.sent_ms)} UTC"


def _print_json(value: Any) -> None:
    sys.stdout.write(encode(value).decode() + "\n")
