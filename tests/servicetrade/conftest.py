"""The fake ServiceTrade, and a session store on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.fernet import Fernet

from runtime.database import open_database
from runtime.settings import AccountSettings, ServiceTradeSettings, StoreSettings
from runtime.toml_reader import Secret
from servicetrade.auth import Observe
from servicetrade.client import Account, ServiceTradeClient
from servicetrade.session import SessionTimes
from servicetrade.session_store import SessionStore
from tests.servicetrade.fake import FakeServiceTrade, running_fake
from tests.servicetrade.postgres import new_database

RIGHT = "right"
QUICK = SessionTimes(answer_s=5.0, lease_s=11.0, wait_s=20.0, login_interval_s=0.02, longest_pause_s=0.1, poll_s=0.01)


@pytest.fixture
async def api() -> AsyncIterator[FakeServiceTrade]:
    async with running_fake() as fake:
        yield fake


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
        times: SessionTimes = QUICK,
        timeout_s: float = 5.0,
        observe: Observe | None = None,
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
            times: SessionTimes = QUICK,
            timeout_s: float = 5.0,
            observe: Observe | None = None,
        ) -> Account:
            accounts = {
                "acme": AccountSettings(
                    username="api", password=Secret(password), hook_secret=Secret("of-no-use-in-this-test")
                )
            }
            where = ServiceTradeSettings(base_url=api.url, timeout_s=timeout_s)
            store = await open_store(settings)
            observing = {} if observe is None else {"observe": observe}
            client = ServiceTradeClient(where, accounts, store, times=times, **observing)
            return (await stack.enter_async_context(client)).account("acme")

        yield opener
