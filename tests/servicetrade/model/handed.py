"""What a worker of the model is made of: the real SharedLogin, and a store, /auth calls and sleep that a driver serves.

None of it needs an event loop: whatever is awaited hands an `Operation` to whoever drives the coroutine, and goes on
with what is sent in.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.toml_reader import Secret
from schemas.errors import ApiUnreachable, LoginRefused, LoginUnavailable, StoreError
from servicetrade.login import SharedLogin
from servicetrade.session_store import SessionStore
from servicetrade.stored_session import StoredSession
from tests.servicetrade.model.frames import Changeless, frozen

ACCOUNT = "acme"
ME = "me"
"""Every worker's own name in the store, as it sees it."""
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Operation:
    """What a worker asks of the world: a transaction, a request or a sleep."""

    name: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        args = [show(arg) for arg in self.args]
        return " ".join([self.name, *args]) if " " in self.name else f"{self.name}({', '.join(args)})"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the world answers: a value, or the name of an error in ERRORS."""

    value: Any = None
    error: str = ""

    def __str__(self) -> str:
        return self.error or ("nothing" if self.value is None else show(self.value))


ERRORS: Mapping[str, Callable[[], BaseException]] = {
    "no answer": lambda: LoginUnavailable("no answer"),
    "refused": lambda: LoginRefused("refused"),
    "unreachable": lambda: ApiUnreachable("no answer"),
    "store failed": lambda: StoreError("failed"),
    "cancelled": asyncio.CancelledError,
}


@types.coroutine
def ask(name: str, *args: Any) -> Generator[Operation, Any, Any]:
    """Hand an operation to the driver, and wait for its reply."""
    return (yield Operation(name, args))


async def _stored(account: str, name: str, *args: Any) -> Any:
    assert account == ACCOUNT
    return await ask(name, *args)


class HandedStore(Changeless, SessionStore):
    """Hands every transaction to the driver; the names are those of `model.store.RowStore`."""

    def __init__(self) -> None:
        """No engine: a method that is missing here fails loudly."""

    async def read(self, account: str) -> Any:
        return await _stored(account, "read")

    async def purge(self, account: str, generation: int) -> Any:
        return await _stored(account, "purge", generation)

    async def try_lease(self, account: str, owner: str, generation: int, ttl_s: float) -> Any:
        assert ttl_s > 0
        return await _stored(account, "try_lease", owner, generation)

    async def restore(self, account: str, owner: str, generation: int, suspicions: int) -> Any:
        return await _stored(account, "restore", owner, generation, suspicions)

    async def bury(self, account: str, owner: str, generation: int) -> Any:
        return await _stored(account, "bury", owner, generation)

    async def save(
        self, account: str, owner: str, generation: int, token: Secret, *, fingerprint: str, login_interval_s: float
    ) -> Any:
        return await _stored(account, "save", owner, generation, token, fingerprint, login_interval_s)

    async def record_failure(self, account: str, owner: str, pause_s: float) -> Any:
        return await _stored(account, "record_failure", owner, pause_s)

    async def record_refusal(
        self, account: str, owner: str, fingerprints: tuple[str, ...], reason: str, *, pause_s: float
    ) -> Any:
        return await _stored(account, "record_refusal", owner, fingerprints, reason, pause_s)

    async def release(self, account: str, owner: str, *, pause_s: float | None = None) -> Any:
        return await _stored(account, "release", owner, pause_s)


class HandedCalls(Changeless):
    """Hands every request to /auth to the driver."""

    async def is_alive(self, token: Secret) -> bool:
        return bool(await ask("GET /auth", token))

    async def login(self) -> Secret:
        return Secret(await ask("POST /auth"))

    async def logout(self, token: Secret) -> None:
        await ask("DELETE /auth", token)


async def wait(seconds: float) -> None:
    """Sleep for as long as the driver likes."""
    await ask("sleep", seconds)


async def program(login: SharedLogin, resource: str) -> str:
    """What a worker does: one request, sent again as `servicetrade.auth.CookieAuth` does. Returns how it ended."""
    session, may_replace = await login.obtain(None), True
    while await ask(resource, session.token) == UNAUTHORIZED:
        if not may_replace:
            return f"last 401 of {resource}"
        failed = session
        session = await login.obtain(await login.doubt(failed.generation))
        if session.token == failed.token:
            return "401 of a session proven alive"
        may_replace = session.found and not failed.found
    return "ok"


def show(value: Any) -> str:
    """A value as a trace prints it."""
    if isinstance(value, StoredSession):
        token = value.token.reveal() if value.token is not None else "no token"
        lease = " that has run out" if value.lease_left_s == 0 else ""
        owner = f", leased by {value.lease_owner}{lease}" if value.lease_owner else ""
        pause = ", logins paused" if value.login_wait_s > 0 else ""
        refused = ", credentials refused" if value.refused_fingerprints else ""
        doubts = f"{value.cleared} of {value.suspicions} suspicions cleared"
        return f"[generation {value.generation}, {token}, {doubts}{owner}{pause}{refused}]"
    return value.reveal() if isinstance(value, Secret) else str(frozen(value))
