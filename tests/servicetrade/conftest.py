"""ServiceTrade, as a simulator and as a server that says what a test wants, and a session store on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.fernet import Fernet

from runtime.database import open_database
from runtime.settings import AccountSettings, LoginSettings, ServiceTradeSettings, StoreSettings
from runtime.toml_reader import Secret
from servicetrade.account import Account
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from tests.servicetrade.fake import FakeServiceTrade, running_fake
from tests.servicetrade.postgres import new_database
from tests.simulator.support import Simulator, running

RIGHT = "right"
QUICK = LoginSettings(interval_s=0.02, longest_pause_s=0.1)
ACCOUNT = AccountSettings(username="api", password=Secret(RIGHT), hook_secret=Secret("of-no-use-in-this-test"))


@pytest.fixture
async def api() -> AsyncIterator[FakeServiceTrade]:
    async with running_fake() as fake:
        yield fake


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with running() as found:
        yield found


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> StoreSettings:
    return StoreSettings(
        url=f"sqlite+aiosqlite:///{tmp_path}/state/store.db", key=Secret(Fernet.generate_key().decode())
    )


@pytest.fixture(params=["sqlite", "postgresql"])
async def store_settings(request: pytest.FixtureRequest, sqlite_settings: StoreSettings) -> StoreSettings:
    if request.param == "sqlite":
        return sqlite_settings
    return StoreSettings(url=await new_database(), key=sqlite_settings.key)


class OpenStore(Protocol):
    """Opens one more connection pool on the test's database, as another process would."""

    async def __call__(self, settings: StoreSettings) -> SessionStore: ...


class OpenAccount(Protocol):
    """One more worker with the account "acme": its own store, client and shared session."""

    async def __call__(
        self,
        settings: StoreSettings,
        *,
        password: str = RIGHT,
        login: LoginSettings = QUICK,
        timeout_s: float = 5.0,
    ) -> Account: ...


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    async with AsyncExitStack() as stack:

        async def opener(settings: StoreSettings) -> SessionStore:
            store = SessionStore(await stack.enter_async_context(open_database(settings)), settings.key)
            await store.create_tables()
            return store

        yield opener


@pytest.fixture
async def open_account(api: FakeServiceTrade, open_store: OpenStore) -> AsyncIterator[OpenAccount]:
    async with AsyncExitStack() as stack:

        async def opener(
            settings: StoreSettings,
            *,
            password: str = RIGHT,
            login: LoginSettings = QUICK,
            timeout_s: float = 5.0,
        ) -> Account:
            where = ServiceTradeSettings(base_url=api.url, timeout_s=timeout_s, login=login)
            accounts = {"acme": replace(ACCOUNT, password=Secret(password))}
            client = open_client(where, accounts, await open_store(settings))
            return (await stack.enter_async_context(client)).account("acme")

        yield opener
