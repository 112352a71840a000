"""Obtains and replaces an account's one session, so that however many workers need it, one logs in."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from runtime.toml_reader import Secret
from schemas.errors import LoginRefused, LoginUnavailable, ServiceTradeError
from servicetrade.session_store import LONGEST_PAUSE_S, SessionStore, StoredSession


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimes:
    """How long the steps of a login may take, in seconds."""

    answer_s: float = 5.0
    """One request to /auth, from connecting to the last byte."""
    lease_s: float = 12.0
    """How long others leave a login to a worker that has gone silent."""
    wait_s: float = 25.0
    """How long a request waits for a session before it fails."""
    login_interval_s: float = 5.0
    """Between two logins at least; the first pause after a failure."""
    longest_pause_s: float = 300.0
    """Where the pauses after failures stop growing."""
    poll_s: float = 0.1
    """Between two looks at the store while another worker logs in, on average."""

    def __post_init__(self) -> None:
        if self.lease_s <= 2 * self.answer_s or self.lease_s < self.login_interval_s:
            raise ValueError("lease_s must be above twice answer_s, and not below login_interval_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a request is sent with."""

    generation: int
    token: Secret


class AuthCalls(Protocol):
    """The login resource of ServiceTrade, for one account; each call takes `SessionTimes.answer_s` at most."""

    async def is_alive(self, token: Secret) -> bool:
        """Ask whether the session lives. Raises LoginUnavailable if there is no telling."""
        ...

    async def login(self) -> Secret:
        """Make a session. Raises LoginRefused, LoginUnavailable."""
        ...

    async def logout(self, token: Secret) -> None:
        """End a session that nobody else has seen. Raises ServiceTradeError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """What a request with a 401 knows: which session failed, and the number of its suspicion in the store."""

    generation: int
    suspicion: int

    def settled_by(self, row: StoredSession) -> bool:
        """Another session is there, or this one was proven alive after the 401."""
        return row.live if row.generation != self.generation else row.cleared >= self.suspicion


class SharedSession:
    """One account's session as this process sees it. Never logs out.

    The store decides between processes (lease, generation, pauses), a lock between the tasks of this one.

    Args:
        account: the account's name, the key in the store.
        store: shared by all processes.
        calls: how to talk to /auth with the account's credentials.
        fingerprints: of these credentials, from `store.fingerprints`.
        times: see there.
    """

    def __init__(
        self,
        account: str,
        store: SessionStore,
        calls: AuthCalls,
        *,
        fingerprints: tuple[str, ...],
        times: SessionTimes,
    ) -> None:
        self._account = account
        self._store = store
        self._calls = calls
        self._fingerprints = fingerprints
        self._times = times
        self._owner = uuid.uuid4().hex
        self._lock = asyncio.Lock()
        self._current: Session | None = None
        # The last generation proven alive, and when its proof began (monotonic).
        self._proof: tuple[int, float] = (0, 0.0)
        self._failures = 0
        self._failure = LoginUnavailable("")

    async def current(self) -> Session:
        """The session to send a request with.

        Raises:
            LoginRefused: the credentials were refused.
            LoginUnavailable: there is none for now.
        """
        if self._current is not None:
            return self._current
        async with self._turn() as deadline:
            return self._current or await self._obtain(None, deadline)

    async def replace(self, failed: Session, failed_at: float) -> Session:
        """The session to send a request with again, after a 401 with `failed` arrived at `failed_at` (monotonic).

        If it has the same generation, the session has been proven alive since: the 401 is the resource's own.

        Raises:
            LoginRefused: the credentials were refused.
            LoginUnavailable: there is none for now.
        """
        async with self._turn() as deadline:
            if self._current is not None and self._current.generation != failed.generation:
                return self._current
            generation, proof_began = self._proof
            if generation == failed.generation and proof_began >= failed_at:
                return failed
            self._current = None
            suspicion = await self._store.purge(self._account, failed.generation)
            return await self._obtain(_Doubt(generation=failed.generation, suspicion=suspicion or 0), deadline)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[float]:
        """The lock, and the moment at which waiting ends; a failure while queueing for it is this caller's too."""
        deadline = time.monotonic() + self._times.wait_s
        failures_before = self._failures
        try:
            async with asyncio.timeout(self._times.wait_s):
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

    async def _obtain(self, doubt: _Doubt | None, deadline: float) -> Session:
        while True:
            row = await self._store.read(self._account)
            if row.token is not None and (doubt.settled_by(row) if doubt else row.live):
                session = Session(generation=row.generation, token=row.token)
                self._current = session if row.live else None
                return session
            if row.token is None:
                self._raise_if_refused(row)
                if row.login_wait_s > 0:
                    await self._pause(row.login_wait_s, deadline, "logins are paused for this account")
                    continue
            # A lease that seems to last longer than leases do is due to a clock set back.
            if 0 < row.lease_left_s <= self._times.lease_s or not await self._refresh(row.generation):
                poll_s = self._times.poll_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
                await self._pause(poll_s, deadline, "another worker did not finish logging in")

    def _raise_if_refused(self, row: StoredSession) -> None:
        if row.refused_fingerprint in self._fingerprints:
            raise LoginRefused(
                f"account {self._account}: {row.refused_reason}; no login until the credentials change "
                "or `tradewind session unlock`"
            )

    async def _pause(self, seconds: float, deadline: float, reason: str) -> None:
        if time.monotonic() + seconds > deadline:
            raise LoginUnavailable(f"account {self._account}: {reason}", retry_after_s=seconds)
        # Not in one go: an operator may unlock, or other credentials log in, in the meantime.
        await asyncio.sleep(min(seconds, 1.0))

    async def _refresh(self, generation: int) -> bool:
        """Under the lease: prove the stored session alive, or log in. False: another worker has the lease.

        What has come of it is read from the store afterwards, as everyone else does.
        """
        lease_end = time.monotonic() + self._times.lease_s
        row = await self._store.try_lease(self._account, self._owner, generation, self._times.lease_s)
        if row is None:
            return False
        pause_s: float | None = None
        try:
            if row.live or (row.token is not None and await self._still_alive(row, row.token)):
                return True
            refused = row.refused_fingerprint in self._fingerprints
            if refused or row.login_wait_s > 0 or time.monotonic() + self._times.answer_s > lease_end:
                return True
            # If this is cancelled there may be a session all the same: the interval holds in any case.
            pause_s = self._times.login_interval_s
            await self._login(row)
        finally:
            await self._store.release(self._account, self._owner, pause_s=pause_s)
        return True

    async def _still_alive(self, row: StoredSession, token: Secret) -> bool:
        began = time.monotonic()
        if await self._calls.is_alive(token):
            await self._store.restore(self._account, self._owner, row.generation, row.suspicions)
            self._proof = (row.generation, began)
            return True
        await self._store.bury(self._account, self._owner, row.generation)
        return False

    async def _login(self, row: StoredSession) -> None:
        interval_s = self._times.login_interval_s
        try:
            token = await self._calls.login()
        except LoginRefused as error:
            fingerprint = self._fingerprints[0]
            await self._store.record_refusal(self._account, self._owner, fingerprint, str(error), pause_s=interval_s)
            raise
        except LoginUnavailable as error:
            pause_s = self._pause_after(row.login_failures, error.retry_after_s)
            await self._store.record_failure(self._account, self._owner, pause_s)
            raise LoginUnavailable(f"account {self._account}: {error}", retry_after_s=pause_s) from error
        saved = await self._store.save(self._account, self._owner, row.generation, token, login_interval_s=interval_s)
        if saved is None:
            # Another worker took over in the meantime, and its session is the shared one. A surplus session that
            # cannot be ended is no harm: the server prunes the oldest beyond its limit.
            with suppress(ServiceTradeError):
                await self._calls.logout(token)

    def _pause_after(self, failures: int, retry_after_s: float | None) -> float:
        grown = min(self._times.login_interval_s * 2.0 ** min(failures, 16), self._times.longest_pause_s)
        jittered = grown * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, not a secret
        return min(max(jittered, retry_after_s or 0.0), LONGEST_PAUSE_S)
