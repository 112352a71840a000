"""Shares an account's one session among the tasks of this process: one of them speaks for all."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from runtime.settings import LoginSettings
from runtime.toml_reader import Secret
from schemas.errors import LoginUnavailable, ServiceTradeError
from servicetrade.login import AuthCalls, SharedLogin
from servicetrade.session_figures import tell_no_session, tell_session
from servicetrade.stored_session import Session

if TYPE_CHECKING:
    # Whoever has no store at hand shall not have to load the driver of one.
    from servicetrade.session_store import SessionStore


class SessionSource(Protocol):
    """Where requests get their session from."""

    async def current(self) -> Session:
        """The session to send a request with. Raises LoginRefused, LoginUnavailable."""
        ...

    async def replace(self, failed: Session, failed_at: float) -> Session:
        """What to send a request with once more, after a 401 with `failed` arrived at `failed_at` (monotonic).

        The same generation: the 401 is the resource's own. Raises LoginRefused, LoginUnavailable.
        """
        ...


class PrivateSession:
    """A session that its owner made for himself (`SessionSource`): there is no other one."""

    def __init__(self, token: Secret) -> None:
        self._session = Session(generation=0, token=token)

    async def current(self) -> Session:
        """See `SessionSource`."""
        return self._session

    async def replace(self, failed: Session, failed_at: float) -> Session:  # noqa: ARG002 - see SessionSource
        """See `SessionSource`."""
        return failed


def new_owner() -> str:
    """A name for one worker in the store: tells people where it runs, and no two are the same."""
    return f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


@dataclass(slots=True)
class _Obtaining:
    """A task that obtains a session for everybody in this process who waits for it."""

    task: asyncio.Task[Session]
    doubts: int | None
    """The generation that it doubts, or None."""
    began: float
    """Before it told the store of its doubt (monotonic)."""


class SharedSession:
    """One account's session as this process sees it (`SessionSource`). Never logs out.

    Whoever needs one waits for the same task. The task is nobody's own: a caller that is cancelled, or out of time,
    ends its own waiting, and no login.

    Args:
        account: the account's name, the key in the store.
        store: shared by all processes.
        calls: how to talk to /auth with the account's credentials.
        fingerprints: of these credentials, from `store.fingerprints`.
        settings: how long each step may take.
    """

    def __init__(
        self,
        account: str,
        store: SessionStore,
        calls: AuthCalls,
        *,
        fingerprints: tuple[str, ...],
        settings: LoginSettings,
    ) -> None:
        self._login = SharedLogin(
            account,
            new_owner(),
            store,
            calls,
            fingerprints=fingerprints,
            settings=settings,
            now=time.monotonic,
            sleep=self._sleep,
        )
        self._account = account
        self._wait_s = settings.wait_s
        self._closing = asyncio.Event()
        self._current: Session | None = None
        self._obtaining: _Obtaining | None = None

    async def current(self) -> Session:
        """See `SessionSource`."""
        async with self._patience():
            # Also while it is doubted: a resource that always answers 401 shall not stop the others.
            if self._current is not None and self._current.generation != self._login.found_dead:
                return self._current
            return await asyncio.shield((self._obtaining or self._begin(None)).task)

    async def replace(self, failed: Session, failed_at: float) -> Session:
        """See `SessionSource`."""
        async with self._patience():
            while True:
                if self._current is not None and self._current.token != failed.token:
                    return replace(self._current, found=True)
                if self._login.proven_since(failed.generation, failed_at):
                    return failed
                obtaining = self._obtaining or self._begin(failed.generation)
                session = await asyncio.shield(obtaining.task)
                if session.token != failed.token:
                    return session
                # A proof that was asked for before this 401 says nothing about it.
                if obtaining.doubts == failed.generation and obtaining.began >= failed_at:
                    return session

    async def close(self) -> None:
        """Wait for nothing more; a login that is under way is brought to its end."""
        self._closing.set()
        if self._obtaining is not None:
            await asyncio.wait({self._obtaining.task})

    def _begin(self, doubted: int | None) -> _Obtaining:
        task = asyncio.create_task(self._obtain(doubted), name=f"session:{self._account}")
        # Looked at here as well: those who wait for it may all have gone.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._obtaining = _Obtaining(task, doubted, time.monotonic())
        return self._obtaining

    async def _obtain(self, doubted: int | None) -> Session:
        found: Session | None = None
        try:
            doubt = None if doubted is None else await self._login.doubt(doubted)
            found = await self._login.obtain(doubt)
        except ServiceTradeError as error:
            tell_no_session(self._account, error)
            raise
        else:
            tell_session(self._account, found)
            return found
        finally:
            self._current = None if found is None or found.doubted else found
            self._obtaining = None

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
            raise LoginUnavailable(f"account {self._account}: this process is stopping")

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_s):
                yield
        except TimeoutError:
            reason = f"no session within {self._wait_s:g} s: a login, or a pause, is still under way"
            raise LoginUnavailable(f"account {self._account}: {reason}") from None
