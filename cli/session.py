"""`tradewind session`: look at the accounts' shared sessions, check, drop and unlock them. No token is ever printed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from cyclopts import App
from rich.markup import escape
from rich.table import Table

from cli.console import DEFAULT_CONFIG, FAILED, OK, OUT, Config
from runtime.settings import read_settings
from schemas.errors import LoginUnavailable
from schemas.moments import shown_ago, shown_time
from schemas.printable import printable
from servicetrade.client import open_servicetrade
from servicetrade.session_desk import SessionDesk, SessionState, masked

session_app = App(name="session", help="The shared ServiceTrade session of each account.")

T = TypeVar("T")

_STYLES = {"live": "green", "suspect": "yellow", "paused": "yellow", "refused": "bold red", "unreadable": "red"}


@session_app.command(name="list")
def list_sessions(*, config: Config = DEFAULT_CONFIG) -> int:
    """Show every account's session in a line; exit code 1 if one's credentials are refused."""
    states = _at_desk(config, lambda desk: desk.states())
    table = Table("account", "session", "generation", "made", "next login", box=None, pad_edge=False)
    for state in states:
        style = _STYLES.get(state.word, "dim")
        made = shown_ago(state.row.made_ms, _now_ms()) if state.row.made_ms else "-"
        cells = (
            escape(state.account),
            f"[{style}]{state.word}[/]",
            str(state.row.generation),
            made,
            _next_login(state),
        )
        table.add_row(*cells)
    OUT.print(table, highlight=False)
    return FAILED if any(state.refused for state in states) else OK


@session_app.command
def show(account: str, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """Show all that is stored about the session of ACCOUNT, its token masked."""
    state = _at_desk(config, lambda desk: desk.state(account))
    for name, value in _facts(state):
        OUT.print(f"[dim]{name:<12}[/]{escape(printable(value))}", highlight=False, soft_wrap=True)
    return OK


@session_app.command
def check(*accounts: str, config: Config = DEFAULT_CONFIG) -> int:
    """Ask ServiceTrade whether the sessions of ACCOUNTS (default: all) live; exit code 1 if one does not.

    Never logs in.
    """

    async def ask(desk: SessionDesk) -> bool:
        all_live = True
        for account in accounts or [state.account for state in await desk.states()]:
            try:
                lives = await desk.lives(account)
                said = {
                    True: "lives",
                    False: "is dead; the next request replaces it",
                    None: "none; the next request logs in",
                }
                verdict = said[lives]
            except LoginUnavailable as error:
                lives, verdict = False, f"cannot be told: {error}"
            OUT.print(f"{account}: {verdict}", highlight=False, markup=False, soft_wrap=True)
            all_live = all_live and lives is True
        return all_live

    return OK if _at_desk(config, ask) else FAILED


@session_app.command
def drop(account: str, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """End the session of ACCOUNT on ServiceTrade and forget it; the next request makes a new one, for all workers."""
    ended = _at_desk(config, lambda desk: desk.drop(account))
    said = {True: "the session was ended", False: "forgotten, but not ended: store.key does not hold its key"}
    OUT.print(
        f"{account}: {said[ended] if ended is not None else 'there was no session'}", highlight=False, soft_wrap=True
    )
    return OK


@session_app.command
def unlock(account: str, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """Allow logins for ACCOUNT again at once, after ServiceTrade refused its credentials or logins were paused."""
    known = _at_desk(config, lambda desk: desk.unlock(account))
    OUT.print(
        f"{account}: {'logins are allowed again' if known else 'there was no session yet'}",
        highlight=False,
        soft_wrap=True,
    )
    return OK


def _at_desk(config: Config, work: Callable[[SessionDesk], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = read_settings(config)
        async with open_servicetrade(settings, create=False) as client:
            return await work(SessionDesk(settings, client))

    return asyncio.run(run())


def _next_login(state: SessionState) -> str:
    if state.refused:
        return "not with these credentials"
    if state.row.lease_left_s > 0:
        return "under way"
    if state.row.login_wait_s > 0:
        failed = f" at the earliest, {state.row.login_failures} failed" if state.row.login_failures else ""
        return f"in {state.row.login_wait_s:.0f} s{failed}"
    return "when it is needed"


def _facts(state: SessionState) -> Iterator[tuple[str, str]]:
    row = state.row
    yield "account", state.account
    yield "session", state.word
    yield "generation", str(row.generation)
    if row.token is not None:
        yield "token", masked(row.token)
    elif row.undecryptable:
        yield "token", "encrypted with a key that store.key does not hold"
    if row.token is not None or row.undecryptable:
        yield "made", shown_time(row.made_ms, _now_ms())
        yield (
            "made with",
            "other credentials than the configured ones" if state.foreign else "the configured credentials",
        )
    yield "401s since", f"{row.suspicions}, of which GET /auth has proved {row.cleared} wrong"
    yield "next login", _next_login(state)
    if state.refused:
        yield "refused", row.refused_reason or ""
        yield (
            "what to do",
            f"put right credentials into the configuration, or `tradewind session unlock {state.account}`",
        )
    if row.lease_left_s > 0:
        yield "lease", f"{row.lease_owner} for {row.lease_left_s:.0f} s"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
