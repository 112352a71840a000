"""Runs the real SharedLogin by hand, without an event loop, and learns what it does as an automaton.

A coroutine's next operation depends on nothing but the replies that it was given. So each worker is an automaton:
`Automaton.step` takes a local state and a reply to the next local state. What it has not seen yet it finds out by
running the real code anew from its start, with the shortest known history of replies that leads there.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator, Hashable
from dataclasses import dataclass
from typing import Any

from runtime.settings import LoginSettings
from runtime.toml_reader import Secret
from schemas.errors import ApiUnreachable, LoginRefused, LoginUnavailable
from servicetrade.login import SharedLogin
from servicetrade.session_store import SessionStore, StoredSession
from tests.servicetrade.model.frames import LATE_S, abandon, frozen, remembered

ACCOUNT = "acme"
ME = "me"
"""Every worker's own name in the store, as it sees it."""

DEADLINE_S = 1000.0
"""Until when a worker waits by its clock, which stands at 0 until it jumps to LATE_S."""

CREDENTIALS = ("fingerprint",)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a worker asks of the world next."""

    name: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(show(arg) for arg in self.args)})"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the world answers: a value, or the name of an error in ERRORS."""

    value: Any = None
    error: str = ""

    def __str__(self) -> str:
        return self.error or show(self.value)


class StoreFailed(Exception):
    """The database did not do what it was asked, or did and could not say so."""


ERRORS = {
    "no answer": lambda: LoginUnavailable("no answer"),
    "refused": lambda: LoginRefused("refused"),
    "unreachable": lambda: ApiUnreachable("no answer"),
    "store failed": StoreFailed,
    "cancelled": asyncio.CancelledError,
}


@types.coroutine
def ask(name: str, *args: Any) -> Generator[Operation, Any, Any]:
    """Hand an operation to the driver, and wait for its reply."""
    return (yield Operation(name, args))


class HandedStore(SessionStore):
    """Hands every transaction to the driver."""

    def __init__(self) -> None:
        """No engine: a method that is missing here fails loudly."""

    async def read(self, account: str) -> StoredSession:
        return await _of(account, "read")

    async def purge(self, account: str, generation: int) -> int | None:
        return await _of(account, "purge", generation)

    async def try_lease(self, account: str, owner: str, generation: int, ttl_s: float) -> StoredSession | None:
        assert ttl_s > 0
        return await _of(account, "try_lease", owner, generation)

    async def restore(self, account: str, owner: str, generation: int, suspicions: int) -> bool:
        return await _of(account, "restore", owner, generation, suspicions)

    async def bury(self, account: str, owner: str, generation: int) -> bool:
        return await _of(account, "bury", owner, generation)

    async def save(
        self, account: str, owner: str, generation: int, token: Secret, *, login_interval_s: float
    ) -> int | None:
        return await _of(account, "save", owner, generation, token, login_interval_s)

    async def record_failure(self, account: str, owner: str, pause_s: float) -> bool:
        return await _of(account, "record_failure", owner, pause_s)

    async def record_refusal(self, account: str, owner: str, fingerprint: str, reason: str, *, pause_s: float) -> bool:
        return await _of(account, "record_refusal", owner, fingerprint, reason, pause_s)

    async def release(self, account: str, owner: str, *, pause_s: float | None = None) -> bool:
        return await _of(account, "release", owner, pause_s)


async def _of(account: str, name: str, *args: Any) -> Any:
    assert account == ACCOUNT
    return await ask(name, *args)


class HandedCalls:
    """Hands every request to /auth to the driver."""

    async def is_alive(self, token: Secret) -> bool:
        return bool(await ask("GET /auth", token))

    async def login(self) -> Secret:
        return Secret(await ask("POST /auth"))

    async def logout(self, token: Secret) -> None:
        await ask("DELETE /auth", token)


async def wait(seconds: float) -> None:
    await ask("sleep", seconds)


async def program(login: SharedLogin, resource: str) -> str:
    """What a worker does: one request, sent again if another session is to be had after a 401."""
    session = await login.obtain(None, DEADLINE_S)
    if await ask(resource, session.token) != 401:
        return "ok"
    doubt = await login.doubt(session.generation)
    replacement = await login.obtain(doubt, DEADLINE_S)
    if replacement.generation == session.generation:
        return "401 of its own"
    return "ok" if await ask(resource, replacement.token) != 401 else "second 401"


@dataclass(frozen=True, slots=True)
class Local:
    """A worker between two replies: what it asks next, or how it ended."""

    asks: Operation | None
    ended: str = ""


class Automaton:
    """All that a worker can do, found out as it is asked for.

    Args:
        login: SharedLogin, or a broken one.
    """

    def __init__(self, login: type[SharedLogin] = SharedLogin) -> None:
        self._login = login
        self._ids: dict[Hashable, int] = {}
        self._histories: list[tuple[Any, ...]] = []
        self._steps: dict[tuple[int, Reply, bool], int] = {}
        self.locals: list[Local] = []

    def start(self, resource: str) -> int:
        """The local state in which a worker begins that reads `resource`."""
        return self._learn((resource,))

    def step(self, at: int, reply: Reply, *, late: bool) -> int:
        """The local state after a reply; `late`: by the worker's clock every deadline has passed."""
        key = (at, reply, late)
        if (found := self._steps.get(key)) is None:
            found = self._steps[key] = self._learn((*self._histories[at], (reply, late)))
        return found

    def _learn(self, history: tuple[Any, ...]) -> int:
        run = Run(self._login, history[0])
        for reply, late in history[1:]:
            run.resume(reply, late=late)
        key = run.local if run.local.asks is None else (history[0], run.remembered())
        run.abandon()
        if key not in self._ids:
            self._ids[key] = len(self.locals)
            self.locals.append(run.local)
            self._histories.append(history)
        return self._ids[key]


class Run:
    """One real coroutine, driven by hand."""

    def __init__(self, login: type[SharedLogin], resource: str) -> None:
        self._clock_s = 0.0
        shared = login(
            ACCOUNT,
            ME,
            HandedStore(),
            HandedCalls(),
            fingerprints=CREDENTIALS,
            settings=LoginSettings(),
            now=lambda: self._clock_s,
            sleep=wait,
        )
        self._coroutine: Coroutine[Operation, Any, str] = program(shared, resource)
        self.local = Local(None)
        self.resume(Reply(), late=False)

    def resume(self, reply: Reply, *, late: bool) -> None:
        self._clock_s = LATE_S if late else 0.0
        try:
            if reply.error:
                self.local = Local(self._coroutine.throw(ERRORS[reply.error]()))
            else:
                self.local = Local(self._coroutine.send(reply.value))
        except StopIteration as done:
            self.local = Local(None, done.value)
        except (LoginUnavailable, LoginRefused, StoreFailed, asyncio.CancelledError) as error:
            self.local = Local(None, type(error).__name__)

    def remembered(self) -> Hashable:
        return remembered(self._coroutine)

    def abandon(self) -> None:
        if self.local.asks is not None:
            abandon(self._coroutine)


def show(value: Any) -> str:
    """A value as a trace prints it."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, StoredSession):
        owner = f", lease of {value.lease_owner}{'' if value.lease_left_s else ' (run out)'}" if value.lease_owner else ""
        pause = ", pause" if value.login_wait_s else ""
        return (
            f"[generation {value.generation}, {show(value.token) if value.token else 'no token'}, "
            f"suspicions {value.cleared}/{value.suspicions} cleared{owner}{pause}]"
        )
    return str(frozen(value))
