"""The contract of the session store, held on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import make_url, update

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import SettingsError, StoreError
from servicetrade.session_store import SESSIONS, SessionStore
from tests.servicetrade.conftest import OpenStore

pytestmark = [pytest.mark.anyio, pytest.mark.containers]


@pytest.fixture
async def store(open_store: OpenStore, store_settings: StoreSettings) -> SessionStore:
    return await open_store(store_settings)


async def login(store: SessionStore, token: str, *, owner: str = "me") -> int:
    generation = (await store.read("acme")).generation
    assert await store.try_lease("acme", owner, generation, 10) is not None
    saved = await store.save("acme", owner, generation, Secret(token), fingerprint="f", login_interval_s=0)
    assert saved is not None
    return saved


async def test_an_account_nobody_logged_in_for_reads_as_generation_0_without_a_token(store: SessionStore) -> None:
    row = await store.read("acme")
    assert (row.generation, row.token, row.live) == (0, None, False)


async def test_a_saved_session_is_live_and_carries_the_next_generation(store: SessionStore) -> None:
    assert await login(store, "first") == 1
    assert await login(store, "second") == 2
    row = await store.read("acme")
    assert (row.generation, row.token, row.live, row.lease_left_s) == (2, Secret("second"), True, 0)


async def test_one_accounts_session_is_not_another_ones(store: SessionStore) -> None:
    await login(store, "first")
    assert (await store.read("other")).token is None


async def test_of_many_that_want_the_lease_at_once_one_gets_it(
    open_store: OpenStore, store_settings: StoreSettings
) -> None:
    stores = [await open_store(store_settings) for _ in range(4)]
    won = await asyncio.gather(*(stores[i % 4].try_lease("acme", f"owner{i}", 0, 10) for i in range(20)))
    assert sum(row is not None for row in won) == 1


async def test_a_lease_that_has_run_out_can_be_taken(store: SessionStore) -> None:
    assert await store.try_lease("acme", "dead", 0, 0) is not None
    assert await store.try_lease("acme", "alive", 0, 10) is not None
    row = await store.read("acme")
    assert row.lease_owner == "alive"
    assert 0 < row.lease_left_s <= 10


async def test_a_lease_longer_than_any_lease_is_a_clock_set_back_and_can_be_taken(
    store: SessionStore, store_settings: StoreSettings
) -> None:
    assert await store.try_lease("acme", "yesterday", 0, 86_400) is not None
    assert 100 < (await store.read("acme")).lease_left_s <= 120
    async with open_database(store_settings) as engine, engine.begin() as connection:
        await connection.execute(update(SESSIONS).values(lease_until_ms=SESSIONS.c.lease_until_ms + 86_400_000))
    assert (await store.read("acme")).lease_left_s == 0
    assert await store.try_lease("acme", "today", 0, 10) is not None


async def test_a_transaction_whose_caller_is_cancelled_locks_nobody_out(
    open_store: OpenStore, store_settings: StoreSettings
) -> None:
    store, other = await open_store(store_settings), await open_store(store_settings)
    await login(store, "first")
    for number in range(40):
        call = asyncio.create_task(store.purge("acme", 1))
        for _ in range(number % 10):
            await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            assert await other.purge("acme", 1) is not None


async def test_a_store_that_another_holds_locked_is_an_error_of_the_store(
    sqlite_settings: StoreSettings, open_store: OpenStore
) -> None:
    store = await open_store(sqlite_settings)
    path = str(make_url(sqlite_settings.url).database)
    with closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            await store.purge("acme", 1)
    assert await store.purge("acme", 1) is None


async def test_no_lease_for_a_generation_that_has_moved_on(store: SessionStore) -> None:
    await login(store, "first")
    assert await store.try_lease("acme", "late", 0, 10) is None


async def test_purging_an_old_generation_does_nothing(store: SessionStore) -> None:
    await login(store, "first")
    await login(store, "second")
    assert await store.purge("acme", 1) is None
    assert (await store.read("acme")).live


async def test_a_purged_session_keeps_its_token_but_is_not_live(store: SessionStore) -> None:
    await login(store, "first")
    assert await store.purge("acme", 1) == 1
    row = await store.read("acme")
    assert (row.token, row.live) == (Secret("first"), False)


async def test_a_restored_session_is_live_again_unless_it_was_suspected_once_more(store: SessionStore) -> None:
    await login(store, "first")
    await store.purge("acme", 1)
    row = await store.try_lease("acme", "me", 1, 10)
    assert row is not None
    assert await store.purge("acme", 1) == 2
    assert await store.restore("acme", "me", 1, row.suspicions)
    assert ((await store.read("acme")).cleared, (await store.read("acme")).live) == (1, False)
    row = await store.try_lease("acme", "me", 1, 10)
    assert row is not None
    assert await store.restore("acme", "me", 1, row.suspicions)
    assert (await store.read("acme")).live


async def test_a_buried_session_is_gone_and_the_lease_stays(store: SessionStore) -> None:
    await login(store, "first")
    assert await store.try_lease("acme", "me", 1, 10) is not None
    assert await store.bury("acme", "me", 1)
    row = await store.read("acme")
    assert (row.token, row.lease_owner) == (None, "me")


async def test_nothing_is_saved_by_one_who_lost_the_lease(store: SessionStore) -> None:
    assert await store.try_lease("acme", "slow", 0, 0) is not None
    assert await store.try_lease("acme", "quick", 0, 10) is not None
    assert await store.save("acme", "slow", 0, Secret("surplus"), fingerprint="f", login_interval_s=0) is None
    assert not await store.restore("acme", "slow", 0, 0)
    assert not await store.bury("acme", "slow", 0)
    assert not await store.release("acme", "slow")
    assert await store.save("acme", "quick", 0, Secret("shared"), fingerprint="f", login_interval_s=0) == 1
    assert (await store.read("acme")).token == Secret("shared")


async def test_a_lease_that_ran_out_but_that_nobody_took_may_still_save(store: SessionStore) -> None:
    assert await store.try_lease("acme", "slow", 0, 0) is not None
    assert await store.save("acme", "slow", 0, Secret("shared"), fingerprint="f", login_interval_s=0) == 1


async def test_failures_are_counted_and_pause_logins_until_one_succeeds(store: SessionStore) -> None:
    for _ in range(2):
        assert await store.try_lease("acme", "me", 0, 10) is not None
        assert await store.record_failure("acme", "me", 60)
    row = await store.read("acme")
    assert (row.login_failures, row.lease_owner) == (2, None)
    assert 50 < row.login_wait_s <= 60
    await login(store, "first")
    row = await store.read("acme")
    assert (row.login_failures, row.login_wait_s) == (0, 0)


async def test_a_refusal_is_remembered_with_its_fingerprint_until_unlocked(store: SessionStore) -> None:
    fingerprint = store.fingerprints("api", Secret("wrong"))[0]
    assert await store.try_lease("acme", "me", 0, 10) is not None
    assert await store.record_refusal("acme", "me", (fingerprint,), "Invalid credentials", pause_s=60)
    row = await store.read("acme")
    assert (row.refused_fingerprints, row.refused_reason) == ((fingerprint,), "Invalid credentials")
    assert await store.unlock("acme")
    row = await store.read("acme")
    assert (row.refused_fingerprints, row.login_wait_s, row.login_failures) == ((), 0, 0)
    assert not await store.unlock("nobody")


async def test_releasing_can_leave_a_pause_behind(store: SessionStore) -> None:
    assert await store.try_lease("acme", "me", 0, 10) is not None
    assert await store.release("acme", "me", pause_s=60)
    row = await store.read("acme")
    assert row.lease_owner is None
    assert row.login_wait_s > 50


async def test_a_pause_is_an_hour_at_most(store: SessionStore) -> None:
    assert await store.try_lease("acme", "me", 0, 10) is not None
    assert await store.record_failure("acme", "me", 1e9)
    assert 3500 < (await store.read("acme")).login_wait_s <= 3600


async def test_a_token_is_absent_without_the_key_and_readable_with_a_rotated_one(
    open_store: OpenStore, store_settings: StoreSettings
) -> None:
    await login(await open_store(store_settings), "first")
    new_key = Fernet.generate_key().decode()
    rotated = StoreSettings(url=store_settings.url, key=Secret(f"{new_key}\n{store_settings.key.reveal()}"))
    assert (await (await open_store(rotated)).read("acme")).token == Secret("first")
    stranger = await open_store(StoreSettings(url=store_settings.url, key=Secret(new_key)))
    row = await stranger.read("acme")
    assert (row.token, row.live, row.generation) == (None, False, 1)


async def test_processes_in_the_middle_of_a_key_rotation_know_each_others_refusals(
    open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    old, new = sqlite_settings.key.reveal(), Fernet.generate_key().decode()
    before = await open_store(StoreSettings(url=sqlite_settings.url, key=Secret(f"{old} {new}")))
    after = await open_store(StoreSettings(url=sqlite_settings.url, key=Secret(f"{new} {old}")))
    assert before.fingerprints("api", Secret("x"))[0] in after.fingerprints("api", Secret("x"))
    assert not set(before.fingerprints("api", Secret("x"))) & set(before.fingerprints("api", Secret("y")))


async def test_neither_token_nor_password_can_be_read_from_the_disk_and_the_files_are_private(
    open_store: OpenStore, sqlite_settings: StoreSettings
) -> None:
    store = await open_store(sqlite_settings)
    await login(store, "k3v0c1f6m2n8q4r7t5w9x1y2z3")
    assert await store.try_lease("acme", "me", 1, 10) is not None
    await store.record_refusal("acme", "me", store.fingerprints("api", Secret("hunter2")), "no", pause_s=0)
    files = list(Path(str(make_url(sqlite_settings.url).database)).parent.iterdir())
    assert {file.name for file in files} == {"store.db", "store.db-wal", "store.db-shm"}
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert b"k3v0c1f6m2n8q4r7t5w9x1y2z3" not in file.read_bytes()
        assert b"hunter2" not in file.read_bytes()


async def test_a_stored_session_does_not_print_its_token(store: SessionStore) -> None:
    await login(store, "k3v0c1f6")
    assert "k3v0c1f6" not in repr(await store.read("acme"))


async def test_a_key_that_is_no_fernet_key_is_refused(open_store: OpenStore, sqlite_settings: StoreSettings) -> None:
    for key in ("", "too-short", "not base64 at all"):
        with pytest.raises(SettingsError, match=r"store\.key"):
            await open_store(StoreSettings(url=sqlite_settings.url, key=Secret(key)))


async def test_a_session_tells_when_and_with_which_credentials_it_was_made(store: SessionStore) -> None:
    assert ((await store.read("acme")).fingerprint, (await store.read("acme")).made_ms) == (None, 0)
    await login(store, "first")
    row = await store.read("acme")
    assert row.fingerprint == "f"
    assert row.made_ms > 1_700_000_000_000
