"""Opens ServiceTrade: one handle per account over its shared session, or a short session of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import httpx

from runtime.database import open_database
from runtime.http import http_client
from runtime.settings import AccountSettings, ServiceTradeSettings, Settings
from runtime.store_schema import upgrade
from schemas.errors import ServiceTradeError
from servicetrade.account import Account
from servicetrade.auth import CookieCalls
from servicetrade.catalogue import Catalogue
from servicetrade.session import PrivateSession, SharedSession
from servicetrade.session_store import SessionStore


class ServiceTradeClient:
    """All accounts' access to ServiceTrade over their shared sessions; made by `open_client`."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        settings: ServiceTradeSettings,
        accounts: Mapping[str, AccountSettings],
        store: SessionStore,
    ) -> None:
        self.catalogue = Catalogue(settings.types)
        self.sessions = store
        self._http = http
        self._settings = settings
        self._accounts = accounts
        self._handles: dict[str, Account] = {}
        self._shared: list[SharedSession] = []

    def account(self, name: str) -> Account:
        """The one handle of this account.

        Raises:
            KeyError: no such account in the settings.
        """
        if name not in self._handles:
            self._handles[name] = self._handle(name, self._accounts[name])
        return self._handles[name]

    def auth_calls(self, name: str) -> CookieCalls:
        """/auth with the account's credentials.

        Raises:
            KeyError: no such account in the settings.
        """
        return CookieCalls(name, self._accounts[name], self._http, self._settings.login)

    def _handle(self, name: str, account: AccountSettings) -> Account:
        session = SharedSession(
            name,
            self.sessions,
            self.auth_calls(name),
            fingerprints=self.sessions.fingerprints(account.username, account.password),
            settings=self._settings.login,
        )
        self._shared.append(session)
        return Account(name, self._http, session, self._settings, self.catalogue)

    async def close(self) -> None:
        """Bring logins that are under way to their end; nobody waits for a session any more."""
        await asyncio.gather(*(session.close() for session in self._shared))


@asynccontextmanager
async def open_servicetrade(settings: Settings, *, create: bool = True) -> AsyncIterator[ServiceTradeClient]:
    """A client with a store of its own, for as long as the block lasts.

    Args:
        settings: all of them.
        create: make the store's file and tables if they do not exist.

    Raises:
        SettingsError: the store's URL or key is wrong.
        StoreError: the store cannot be opened.
    """
    async with open_database(settings.store, create=create) as database:
        if create:
            await upgrade(database)
        store = SessionStore(database, settings.store.key)
        async with open_client(settings.servicetrade, settings.accounts, store) as client:
            yield client


@asynccontextmanager
async def open_client(
    settings: ServiceTradeSettings, accounts: Mapping[str, AccountSettings], store: SessionStore
) -> AsyncIterator[ServiceTradeClient]:
    """A client and its connections, for as long as the block lasts.

    Args:
        settings: where ServiceTrade is, and how hard it may be asked.
        accounts: by name.
        store: its table exists; it is not closed here.
    """
    async with _http(settings) as http:
        client = ServiceTradeClient(http, settings, accounts, store)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def short_session(settings: ServiceTradeSettings, name: str, account: AccountSettings) -> AsyncIterator[Account]:
    """For scripts: log in, act, log out. The session is this block's own, and the shared one is left alone.

    Every one of these costs a login, which ServiceTrade limits. A 401 in the block surfaces as an ApiError.

    Raises:
        LoginRefused: wrong credentials.
        LoginUnavailable: there is no session for now.
        ApiUnreachable: logging out failed: the session lives on until ServiceTrade prunes it.
    """
    async with _http(settings) as http:
        calls = CookieCalls(name, account, http, settings.login)
        token = await calls.login()
        try:
            yield Account(name, http, PrivateSession(token), settings, Catalogue(settings.types))
        except BaseException:
            # What went wrong in the block matters more than a session that stays behind.
            with suppress(ServiceTradeError):
                await calls.logout(token)
            raise
        await calls.logout(token)


def _http(settings: ServiceTradeSettings) -> httpx.AsyncClient:
    # A proxy of the environment is for the way out, not for a simulator nearby.
    outwards = settings.base_url.startswith("https://")
    return http_client(
        base_url=settings.base_url.rstrip("/") + "/api",
        timeout_s=settings.timeout_s,
        headers={"Accept": "application/json"},
        # The session is put on by hand, and the governor bounds each account.
        trust_env=outwards,
    )
