"""What an operator sees of the shared sessions, and does to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from runtime.settings import Settings
from runtime.toml_reader import Secret
from schemas.errors import ApiUnreachable, LoginUnavailable, SettingsError
from servicetrade.client import ServiceTradeClient
from servicetrade.session import new_owner
from servicetrade.stored_session import StoredSession


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """One account's row, and how it stands to the credentials that are configured."""

    account: str
    row: StoredSession
    refused: bool
    """ServiceTrade refused the configured credentials: nobody logs in with them."""
    foreign: bool
    """Other credentials than the configured ones made the session."""

    @property
    def word(self) -> str:
        """The state in a word: live, suspect, refused, paused, unreadable or none."""
        if self.row.live:
            return "live"
        if self.row.token is not None:
            return "suspect"
        if self.refused:
            return "refused"
        if self.row.login_wait_s > 0:
            return "paused"
        return "unreadable" if self.row.undecryptable else "none"


def masked(token: Secret) -> str:
    """What can be shown of a token: enough to tell two apart, nothing to use."""
    text = token.reveal()
    return f"{len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


class SessionDesk:
    """All configured accounts' sessions. Nothing here logs in.

    All methods that take an account raise SettingsError if it is not configured.
    """

    def __init__(self, settings: Settings, client: ServiceTradeClient) -> None:
        self._settings = settings
        self._store = client.sessions
        self._client = client

    async def states(self) -> list[SessionState]:
        """Of every account, in the order of the configuration."""
        return [await self.state(account) for account in self._settings.accounts]

    async def state(self, account: str) -> SessionState:
        """Of one account."""
        self._require(account)
        row = await self._store.read(account)
        credentials = self._settings.accounts[account]
        fingerprints = self._store.fingerprints(credentials.username, credentials.password)
        return SessionState(
            account=account,
            row=row,
            refused=row.refuses(fingerprints),
            foreign=row.made_by_others(fingerprints),
        )

    async def lives(self, account: str) -> bool | None:
        """Ask ServiceTrade whether the stored session lives; None: there is none to ask about.

        Raises:
            LoginUnavailable: it cannot be told.
        """
        token = (await self.state(account)).row.token
        return None if token is None else await self._client.auth_calls(account).is_alive(token)

    async def drop(self, account: str) -> bool | None:
        """End the session, so that the next request makes a new one.

        Returns:
            True; False: it was forgotten without being ended, because its key is not here; None: there was none.

        Raises:
            LoginUnavailable: a worker is logging in or looking at it right now.
            ApiUnreachable: ServiceTrade did not end it, and it is still the shared one.
        """
        row = (await self.state(account)).row
        if row.token is None and not row.undecryptable:
            return None
        # Under the lease, or a worker might at the same time prove alive what is ended here.
        owner = new_owner()
        lease_s = self._settings.servicetrade.login.lease_s
        if await self._store.try_lease(account, owner, row.generation, lease_s) is None:
            raise LoginUnavailable(f"account {account}: a worker is busy with the session; try again in a moment")
        try:
            if row.token is not None:
                await self._end(account, row.token)
            await self._store.bury(account, owner, row.generation)
        finally:
            await self._store.release(account, owner)
        return row.token is not None

    async def _end(self, account: str, token: Secret) -> None:
        try:
            await self._client.auth_calls(account).logout(token)
        except ApiUnreachable as error:
            raise ApiUnreachable(f"account {account}: {error}; the session is still the shared one") from None

    async def unlock(self, account: str) -> bool:
        """Forget a refusal, the failures and the pause; False: nobody has ever logged in or tried to."""
        self._require(account)
        return await self._store.unlock(account)

    def _require(self, account: str) -> None:
        if account not in self._settings.accounts:
            raise SettingsError(f"{account}: no such account; configured: {', '.join(self._settings.accounts)}")
