"""The protocol by which any number of workers of an account prove, make and replace its one session.

Store, /auth, clock and sleep are given to the constructor, so that a test can explore every interleaving of this very
code; docs/servicetrade-session.md tells it in prose.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from runtime.logs import log_event
from runtime.settings import LONGEST_PAUSE_S, LoginSettings
from runtime.toml_reader import Secret
from schemas.errors import LoginRefused, LoginUnavailable, ServiceTradeError, StoreError
from servicetrade.stored_session import Doubt, Session, StoredSession

if TYPE_CHECKING:
    # Whoever has no store at hand shall not have to load the driver of one.
    from servicetrade.session_store import SessionStore

_POLL_S = 0.1
"""Between two looks at the store while another worker logs in, on average."""

_log = logging.getLogger(__name__)


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
        self.found_dead = -1
        """The last generation that this worker has found dead."""
        self._proof: tuple[int, float] = (0, 0.0)
        # The generation that other credentials had made when this worker began; None: not looked yet.
        self._foreign: int | None = None

    def proven_since(self, generation: int, moment: float) -> bool:
        """Whether this worker has asked, after `moment` (by `now`), for this session and found it alive."""
        proven, began = self._proof
        return proven == generation and began >= moment

    async def doubt(self, generation: int) -> Doubt:
        """Tell all workers that a request with this session was answered 401."""
        return Doubt(generation=generation, suspicion=await self._store.purge(self._account, generation))

    async def obtain(self, doubt: Doubt | None) -> Session:
        """A session that nothing speaks against; with a doubt, one that settles it.

        It takes as long as it takes: pauses, and other workers' logins, are waited for.

        Raises:
            LoginRefused: the credentials were refused.
            LoginUnavailable: an attempt failed, or the pause is longer than anybody shall wait.
            StoreError: the store failed.
        """
        while True:
            row = await self._store.read(self._account)
            foreign = self._is_foreign(row)
            if row.token is not None and not foreign and (doubt.settled_by(row) if doubt else row.usable):
                found = doubt is not None and doubt.suspicion is None
                return Session(generation=row.generation, token=row.token, doubted=not row.live, found=found)
            if row.token is None or foreign:
                self._raise_if_refused(row)
            if row.login_wait_s > 0 and (row.token is None or foreign or row.proof_paused):
                await self._pause(row.login_wait_s)
            elif row.lease_left_s > 0 or not await self._refresh(row.generation):
                await self._sleep(_POLL_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret

    def _is_foreign(self, row: StoredSession) -> bool:
        """Whether other credentials have made the session, and before this worker began.

        Only before: two workers whose credentials differ shall not replace each other's session for ever.
        """
        if self._foreign is None:
            self._foreign = row.generation if row.made_by_others(self._fingerprints) else -1
        return row.generation == self._foreign

    def _raise_if_refused(self, row: StoredSession) -> None:
        if row.refuses(self._fingerprints):
            raise LoginRefused(
                f"account {self._account}: {row.refused_reason}; no login until the credentials change "
                "or `tradewind session unlock`"
            )

    async def _pause(self, seconds: float) -> None:
        if seconds > self._settings.wait_s:
            raise LoginUnavailable(f"account {self._account}: logins are paused", retry_after_s=seconds)
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
            if not foreign and row.token is not None and (row.usable or not await self._is_dead(row, row.token)):
                return True
            late = self._now() + self._settings.answer_timeout_s > lease_end
            if late or row.refuses(self._fingerprints) or row.login_wait_s > 0:
                return True
            # If this is cancelled there may be a session all the same: the interval holds in any case.
            pause_s = self._settings.interval_s
            if await self._login(row) and foreign and row.token is not None:
                # Only now, so that wrong new credentials end nobody's session. Whoever still has it will see a 401.
                await self._end(row.token)
        finally:
            # Where the store fails the lease runs out by itself, and what went wrong before is what matters.
            with suppress(StoreError):
                await self._store.release(self._account, self._owner, pause_s=pause_s)
        return True

    async def _is_dead(self, row: StoredSession, token: Secret) -> bool:
        """Ask. A session that lives is a suspect no more; one that is dead is buried, if the lease is still ours."""
        began = self._now()
        try:
            alive = await self._calls.is_alive(token)
        except LoginUnavailable as error:
            await self._failed(row, error)
            return False
        if alive:
            await self._store.restore(self._account, self._owner, row.generation, row.suspicions)
            self._proof = (row.generation, began)
            return False
        log_event(_log, "session.dead", account=self._account, generation=row.generation)
        self.found_dead = row.generation
        return await self._store.bury(self._account, self._owner, row.generation)

    async def _login(self, row: StoredSession) -> bool:
        """Log in and store the session. False: another worker was quicker."""
        try:
            token = await self._calls.login()
        except LoginRefused as error:
            log_event(_log, "session.refused", level=logging.ERROR, account=self._account, reason=str(error))
            refused = (*row.refused_fingerprints, self._fingerprints[0])
            pause_s = self._pause_after(row.login_failures, None)
            if await self._store.record_refusal(self._account, self._owner, refused, str(error), pause_s=pause_s):
                raise
            return False
        except LoginUnavailable as error:
            await self._failed(row, error)
            return False
        saved: int | None = None
        try:
            saved = await self._store.save(
                self._account,
                self._owner,
                row.generation,
                token,
                fingerprint=self._fingerprints[0],
                login_interval_s=self._settings.interval_s,
            )
        finally:
            if saved is None:
                await self._discard(token)
        if saved is not None:
            log_event(_log, "session.login", account=self._account, generation=saved)
        return saved is not None

    async def _failed(self, row: StoredSession, error: LoginUnavailable) -> None:
        """Let everybody pause, and raise; but if another worker took over meanwhile, what it brings is what counts."""
        pause_s = self._pause_after(row.login_failures, error.retry_after_s)
        if await self._store.record_failure(self._account, self._owner, pause_s):
            log_event(
                _log,
                "session.login_failed",
                level=logging.WARNING,
                account=self._account,
                reason=str(error),
                pause_s=round(pause_s, 1),
            )
            raise LoginUnavailable(f"account {self._account}: {error}", retry_after_s=pause_s) from error

    async def _discard(self, token: Secret) -> None:
        """End a session that was not stored: another worker took over in the meantime, or the store failed."""
        # A commit whose answer got lost has stored it all the same, and others may use it already.
        with suppress(StoreError):
            if (await self._store.read(self._account)).token == token:
                return
        log_event(_log, "session.surplus", level=logging.WARNING, account=self._account)
        await self._end(token)

    async def _end(self, token: Secret) -> None:
        # One that cannot be ended is no harm: it is not the shared one, and the server prunes the oldest.
        with suppress(ServiceTradeError):
            await self._calls.logout(token)

    def _pause_after(self, failures: int, retry_after_s: float | None) -> float:
        grown = min(self._settings.interval_s * 2.0 ** min(failures, 16), self._settings.longest_pause_s)
        jittered = grown * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, not a secret
        return min(max(jittered, retry_after_s or 0.0), LONGEST_PAUSE_S)
