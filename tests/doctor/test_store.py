"""What the doctor says of stores: away, behind, ahead, read-only, with sessions that its key does not open."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import make_url, text

from doctor.patience import Patience
from doctor.store import checked_store
from runtime.broker_config import free_port
from runtime.database import open_database
from runtime.settings import AccountSettings, KafkaSettings, Settings, StoreSettings
from runtime.store_migration import migrate
from runtime.toml_reader import Secret
from servicetrade.session_store import SessionStore
from tests.doctor.examining import FAILED, NOT_CHECKED, OK, Report, make_store, silent_server
from tests.servicetrade.conftest import OpenStore, store_settings
from tests.servicetrade.postgres import new_database

pytestmark = pytest.mark.anyio

__all__ = ["store_settings"]

ACCOUNT = AccountSettings(username="u", password=Secret("p"), hook_secret=Secret("of-no-use-in-this-test"))


def settings_with(store: StoreSettings) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap_servers="of-no-use"), store=store, accounts={"acme": ACCOUNT, "bolt": ACCOUNT}
    )


async def checked(store: StoreSettings, patience: Patience | None = None) -> tuple[Report, SessionStore | None, str]:
    report = Report()
    async with checked_store(settings_with(store), report.findings.append, patience or Patience()) as (sessions, why):
        return report, sessions, why


async def save_session(store: SessionStore, account: str) -> None:
    assert await store.try_lease(account, "a worker", 0, 5) is not None
    await store.save(account, "a worker", 0, Secret("token"), fingerprint="f", login_interval_s=0)


async def test_a_store_that_is_right_is_lent_on(store_settings: StoreSettings, open_store: OpenStore) -> None:
    await make_store(store_settings)
    report, sessions, why = await checked(store_settings)
    assert sessions is not None
    assert why == ""
    assert report.states("store") == {"store.url": OK, "schema": OK, "writing": OK, "store.key": OK}
    assert report.one("store", "store.key").what == "there is no session yet that it could open"
    told = report.one("store", "store.url").what
    assert "opened, SQLite 3" in told or told.endswith(" without TLS")
    await save_session(await open_store(store_settings), "acme")
    report, _, _ = await checked(store_settings)
    assert report.one("store", "store.key").what == "opens 1 stored session"


async def test_a_session_that_was_encrypted_with_another_key_is_told_with_both_ways_out(
    sqlite_settings: StoreSettings, open_store: OpenStore
) -> None:
    await make_store(sqlite_settings)
    await save_session(await open_store(sqlite_settings), "bolt")
    other = StoreSettings(url=sqlite_settings.url, key=Secret(Fernet.generate_key().decode()))
    report, _, _ = await checked(other)
    key = report.one("store", "store.key")
    assert (key.state, key.what) == (FAILED, "does not open the session of bolt: it was encrypted with another key")
    assert "put the key that made it into store.key" in key.do
    assert "`tradewind session drop bolt`" in key.do
    both = Secret(f"{other.key.reveal()} {sqlite_settings.key.reveal()}")
    report, _, _ = await checked(StoreSettings(url=sqlite_settings.url, key=both))
    assert report.one("store", "store.key").state is OK


async def test_a_key_that_is_none_opens_nothing(sqlite_settings: StoreSettings) -> None:
    await make_store(sqlite_settings)
    report, sessions, why = await checked(StoreSettings(url=sqlite_settings.url, key=Secret("mistyped")))
    assert (sessions, why) == (None, "store.key is no Fernet key")
    assert report.one("store", "store.key").state is NOT_CHECKED


async def test_a_store_behind_is_told_and_not_migrated(store_settings: StoreSettings) -> None:
    for step, told in (("0002", "is at step 0002, this program needs "), (None, "there are no tables")):
        async with open_database(store_settings) as database, database.begin() as connection:
            if step is None:
                await connection.execute(text("DROP TABLE alembic_version"))
            else:
                await connection.run_sync(migrate, to=step)
        for _ in range(2):
            report, sessions, why = await checked(store_settings)
            assert (sessions, why) == (None, "the store's schema is not this program's")
            schema = report.one("store", "schema")
            assert schema.state is FAILED
            assert schema.what.startswith(told)
            assert "migrates the store" in schema.do
            assert report.states("store")["writing"] is NOT_CHECKED


async def test_a_store_that_a_newer_version_has_migrated_is_left_to_that(sqlite_settings: StoreSettings) -> None:
    await make_store(sqlite_settings)
    async with open_database(sqlite_settings) as database, database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    report, _, _ = await checked(sqlite_settings)
    schema = report.one("store", "schema")
    assert (schema.state, "a newer tradewind has migrated" in schema.what) == (FAILED, True)


async def test_a_store_that_may_only_be_read_fails(sqlite_settings: StoreSettings) -> None:
    replica = StoreSettings(url=await new_database(), key=sqlite_settings.key)
    await make_store(replica)
    name = make_url(replica.url).database
    async with open_database(replica) as database, database.begin() as connection:
        await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    report, sessions, why = await checked(replica)
    writing = report.one("store", "writing")
    assert (writing.state, "read-only transaction" in writing.what) == (FAILED, True)
    assert (sessions, why) == (None, "the store cannot be written")


async def test_nothing_is_written_to_see_whether_writing_is_allowed(
    sqlite_settings: StoreSettings, open_store: OpenStore
) -> None:
    await make_store(sqlite_settings)
    store = await open_store(sqlite_settings)
    await save_session(store, "acme")
    before = await store.read("acme")
    await checked(sqlite_settings)
    assert await store.read("acme") == before


async def test_a_file_that_is_not_there_is_told_and_not_made(sqlite_settings: StoreSettings, tmp_path: Path) -> None:
    report, sessions, why = await checked(sqlite_settings)
    assert (sessions, why) == (None, "the store cannot be opened")
    url = report.one("store", "store.url")
    assert (url.state, url.what.endswith("store.db is not there")) == (FAILED, True)
    assert "relative" in url.do
    others = {"schema": NOT_CHECKED, "writing": NOT_CHECKED, "store.key": NOT_CHECKED}
    assert report.states("store") == {"store.url": FAILED, **others}
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "mysql"])
async def test_a_database_that_is_not_there_is_told_without_its_password(
    sqlite_settings: StoreSettings, driver: str
) -> None:
    url = f"{driver}://user:of-the-user@127.0.0.1:{free_port()}/tradewind"
    report, _, _ = await checked(StoreSettings(url=url, key=sqlite_settings.key))
    found = report.one("store", "store.url")
    assert (found.state, "store.password" in found.do) == (FAILED, True)
    assert "of-the-user" not in found.what


async def test_a_database_that_says_nothing_is_given_up(sqlite_settings: StoreSettings) -> None:
    async with silent_server() as where:
        url = f"postgresql+asyncpg://user@{where}/tradewind"
        report, _, _ = await checked(StoreSettings(url=url, key=sqlite_settings.key), Patience(store_s=0.2))
    assert report.one("store", "store.url").what == "no answer within 0.2 s"
