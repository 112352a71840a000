"""Shares an account's one session among the tasks of this process: one of them speaks for all."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from runtime.settings import LoginSettings
from runtime.toml_reader import Secret
from schemas.errors import LoginUnavailable
from servicetrade.login import AuthCalls, Doubt, Session, SharedLogin
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


class SharedSession:
    """One account's session as this process sees it (`SessionSource`). Never logs out.

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
            sleep=asyncio.sleep,
        )
        self._wait_s = settings.wait_s
        self._lock = asyncio.Lock()
        self._current: Session | None = None
        self._failures = 0
        self._failure = LoginUnavailable("")

    async def current(self) -> Session:
        """See `SessionSource`."""
        if self._current is not None:
            return self._current
        async with self._turn() as deadline:
            return self._current or await self._obtain(None, deadline)

    async def replace(self, failed: Session, failed_at: float) -> Session:
        """See `SessionSource`."""
        async with self._turn() as deadline:
            if self._current is not None and self._current.generation != failed.generation:
                return self._current
            if self._login.proven_since(failed.generation, failed_at):
                return failed
            self._current = None
            return await self._obtain(await self._login.doubt(failed.generation), deadline)

    async def _obtain(self, doubt: Doubt | None, deadline: float) -> Session:
        session = await self._login.obtain(doubt, deadline)
        self._current = None if session.doubted else session
        return session

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[float]:
        """The lock, and the moment at which waiting ends; a failure while queueing for it is this caller's too."""
        deadline = time.monotonic() + self._wait_s
        failures_before = self._failures
        try:
            async with asyncio.timeout(self._wait_s):
                await self._lock.acquire()
        except TimeoutError:
            raise LoginUnavailable("no session in time: this process is still trying to log in") from None
        try:
            if self._failures != failures_before:
                raise LoginUnavailable(str(self._failure), retry_after_s=self._failure.retry_after_s)
            try:
                yield deadline
            except LoginUnavailable as error:
                self._failures += 1
                self._failure = error
                raise
        finally:
            self._lock.release()
