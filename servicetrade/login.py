"""The protocol by which any number of workers of an account prove, make and replace its one session.

Times are told and waited for through what the constructor is given, so that a test can explore every interleaving of
this very code; docs/servicetrade-session.md tells it in prose.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from runtime.logs import log_event
from runtime.settings import LoginSettings
from runtime.toml_reader import Secret
from schemas.errors import LoginRefused, LoginUnavailable, ServiceTradeError
from servicetrade.session_store import LONGEST_PAUSE_S, SessionStore, StoredSession

_POLL_S = 0.1
"""Between two looks at the store while another worker logs in, on average."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a request is sent with."""

    generation: int
    token: Secret
    doubted: bool = False
    """Other requests have been answered 401 with it since; who is not in doubt himself asks the store again."""


class AuthCalls(Protocol):
    """The login resource of ServiceTrade, for one account; each call takes `answer_timeout_s` at most."""

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
class Doubt:
    """What a request with a 401 knows: which session failed, and the number of its suspicion in the store."""

    generation: int
    suspicion: int

    def settled_by(self, row: StoredSession) -> bool:
        """Another session is there, or this one was proven alive after the 401."""
        return row.live if row.generation != self.generation else row.cleared >= self.suspicion


class SharedLogin:
    """One worker's side of the protocol. Not for two tasks at a time: `servicetrade.session` sees to that.

    Args:
        account: the account's name, the key in the store.
        owner: stands for this worker in the store; no two workers have the same.
        store: shared by all workers; it decides between them (lease, generation, pauses).
        calls: how to talk to /auth with the account's credentials.
        fingerprints: of these credentials, from `store.fingerprints`.
        settings: how long each step may take.
        now: this process's steady clock, in seconds.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        account: str,
        owner: str,
        store: SessionStore,
        calls: AuthCalls,
        *,
        fingerprints: tuple[str, ...],
        settings: LoginSettings,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._account = account
        self._owner = owner
        self._store = store
        self._calls = calls
        self._fingerprints = fingerprints
        self._settings = settings
        self._now = now
        self._sleep = sleep
        self._proof: tuple[int, float] = (0, 0.0)
        # The generation that other credentials had made when this worker began; None: not looked yet.
        self._foreign: int | None = None

    def proven_since(self, generation: int, moment: float) -> bool:
        """Whether this worker has asked, after `moment` (by `now`), for this session and found it alive."""
        proven, began = self._proof
        return proven == generation and began >= moment

    async def doubt(self, generation: int) -> Doubt:
        """Tell all workers that a request with this session was answered 401."""
        suspicion = await self._store.purge(self._account, generation)
        return Doubt(generation=generation, suspicion=suspicion or 0)

    async def obtain(self, doubt: Doubt | None, deadline: float) -> Session:
        """A session that nothing speaks against; with a doubt, one that settles it.

        Raises:
            LoginRefused: the credentials were refused.
            LoginUnavailable: there is none for now, or none before `deadline` (by `now`).
        """
        while True:
            row = await self._store.read(self._account)
            foreign = self._is_foreign(row)
            if row.token is not None and not foreign and (doubt.settled_by(row) if doubt else row.live):
                return Session(generation=row.generation, token=row.token, doubted=not row.live)
            if row.token is None or foreign:
                self._raise_if_refused(row)
                if row.login_wait_s > 0:
                    await self._pause(row.login_wait_s, deadline, "logins are paused for this account")
                    continue
            # A lease that seems to last longer than leases do is due to a clock set back.
            if 0 < row.lease_left_s <= self._settings.lease_s or not await self._refresh(row.generation):
                poll_s = _POLL_S * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
                await self._pause(poll_s, deadline, "another worker did not finish logging in")

    def _is_foreign(self, row: StoredSession) -> bool:
        """Whether other credentials have made the session, and before this worker began.

        Only before: two workers whose credentials differ shall not replace each other's session for ever.
        """
        if self._foreign is None:
            others = row.fingerprint is not None and row.fingerprint not in self._fingerprints
            self._foreign = row.generation if others else -1
        return row.generation == self._foreign

    def _raise_if_refused(self, row: StoredSession) -> None:
        if row.refused_fingerprint in self._fingerprints:
            raise LoginRefused(
                f"account {self._account}: {row.refused_reason}; no login until the credentials change "
                "or `tradewind session unlock`"
            )

    async def _pause(self, seconds: float, deadline: float, reason: str) -> None:
        if self._now() + seconds > deadline:
            raise LoginUnavailable(f"account {self._account}: {reason}", retry_after_s=seconds)
        # Not in one go: an operator may unlock, or other credentials log in, in the meantime.
        await self._sleep(min(seconds, 1.0))

    async def _refresh(self, generation: int) -> bool:
        """Under the lease: prove the stored session alive, or log in. False: another worker has the lease.

        What has come of it is read from the store afterwards, as everyone else does.
        """
        lease_end = self._now() + self._settings.lease_s
        row = await self._store.try_lease(self._account, self._owner, generation, self._settings.lease_s)
        if row is None:
            return False
        pause_s: float | None = None
        foreign = self._is_foreign(row)
        try:
            if not foreign and (row.live or (row.token is not None and await self._still_alive(row, row.token))):
                return True
            refused = row.refused_fingerprint in self._fingerprints
            if refused or row.login_wait_s > 0 or self._now() + self._settings.answer_timeout_s > lease_end:
                return True
            # If this is cancelled there may be a session all the same: the interval holds in any case.
            pause_s = self._settings.interval_s
            if await self._login(row) and foreign and row.token is not None:
                # Only now, so that wrong new credentials end nobody's session. Whoever still has it will see a 401.
                with suppress(ServiceTradeError):
                    await self._calls.logout(row.token)
        finally:
            await self._store.release(self._account, self._owner, pause_s=pause_s)
        return True

    async def _still_alive(self, row: StoredSession, token: Secret) -> bool:
        began = self._now()
        if await self._calls.is_alive(token):
            await self._store.restore(self._account, self._owner, row.generation, row.suspicions)
            self._proof = (row.generation, began)
            return True
        log_event(_log, "session.dead", account=self._account, generation=row.generation)
        await self._store.bury(self._account, self._owner, row.generation)
        return False

    async def _login(self, row: StoredSession) -> bool:
        """Log in and store the session. False: another worker was quicker."""
        interval_s = self._settings.interval_s
        try:
            token = await self._calls.login()
        except LoginRefused as error:
            log_event(_log, "session.refused", level=logging.ERROR, account=self._account, reason=str(error))
            fingerprint = self._fingerprints[0]
            await self._store.record_refusal(self._account, self._owner, fingerprint, str(error), pause_s=interval_s)
            raise
        except LoginUnavailable as error:
            pause_s = self._pause_after(row.login_failures, error.retry_after_s)
            fields = {"account": self._account, "reason": str(error), "pause_s": round(pause_s, 1)}
            log_event(_log, "session.login_failed", level=logging.WARNING, **fields)
            await self._store.record_failure(self._account, self._owner, pause_s)
            raise LoginUnavailable(f"account {self._account}: {error}", retry_after_s=pause_s) from error
        saved: int | None = None
        try:
            saved = await self._store.save(
                self._account,
                self._owner,
                row.generation,
                token,
                fingerprint=self._fingerprints[0],
                login_interval_s=interval_s,
            )
        finally:
            if saved is None:
                await self._discard(token)
        if saved is not None:
            log_event(_log, "session.login", account=self._account, generation=saved)
        return saved is not None

    async def _discard(self, token: Secret) -> None:
        """End a session that was not stored: another worker took over in the meantime, or the store failed."""
        log_event(_log, "session.surplus", level=logging.WARNING, account=self._account)
        # One that cannot be ended is no harm: nobody else has it, and the server prunes the oldest.
        with suppress(ServiceTradeError):
            await self._calls.logout(token)

    def _pause_after(self, failures: int, retry_after_s: float | None) -> float:
        grown = min(self._settings.interval_s * 2.0 ** min(failures, 16), self._settings.longest_pause_s)
        jittered = grown * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, not a secret
        return min(max(jittered, retry_after_s or 0.0), LONGEST_PAUSE_S)
