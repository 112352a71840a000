"""The tasks of one process share what one of them finds out, good or bad."""

from __future__ import annotations

import asyncio
import time

import pytest

from runtime.settings import LoginSettings, StoreSettings
from runtime.toml_reader import Secret
from schemas.errors import LoginUnavailable
from servicetrade.session import SharedSession
from servicetrade.stored_session import Doubt, StoredSession
from tests.servicetrade.conftest import OpenStore

pytestmark = pytest.mark.anyio


class Calls:
    """An /auth whose sessions never die and whose logins can be made to fail."""

    def __init__(self) -> None:
        self.looks = 0
        self.logins = 0
        self.fails = False

    async def is_alive(self, token: Secret) -> bool:
        assert token == Secret("token")
        self.looks += 1
        return True

    async def login(self) -> Secret:
        self.logins += 1
        if self.fails:
            raise LoginUnavailable("down")
        return Secret("token")

    async def logout(self, token: Secret) -> None:
        raise AssertionError(f"nobody logs out of {token}")


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def session(calls: Calls, open_store: OpenStore, sqlite_settings: StoreSettings) -> SharedSession:
    store = await open_store(sqlite_settings)
    return SharedSession("acme", store, calls, fingerprints=("x",), settings=LoginSettings(interval_s=0))


async def test_one_look_at_a_living_session_answers_all_401s_that_came_before_it(
    calls: Calls, session: SharedSession
) -> None:
    failed = await session.current()
    now = time.monotonic()
    assert await asyncio.gather(*(session.replace(failed, now) for _ in range(10))) == [failed] * 10
    assert calls.looks == 1
    assert await session.replace(failed, time.monotonic()) == failed
    assert (calls.looks, calls.logins) == (2, 1)


async def test_one_failed_login_fails_all_that_waited_for_it_and_none_that_comes_later(
    calls: Calls, session: SharedSession
) -> None:
    calls.fails = True
    outcomes = await asyncio.gather(*(session.current() for _ in range(10)), return_exceptions=True)
    assert all(isinstance(outcome, LoginUnavailable) for outcome in outcomes)
    assert calls.logins == 1
    calls.fails = False
    assert (await session.current()).token == Secret("token")
    assert calls.logins == 2


async def test_a_401_is_settled_by_a_later_proof_even_if_others_doubt_again() -> None:
    row = StoredSession(generation=7, token=Secret("token"), suspicions=3, cleared=2)
    assert Doubt(generation=7, suspicion=2).settled_by(row)
    assert not Doubt(generation=7, suspicion=3).settled_by(row)


async def test_a_401_is_settled_by_another_session_only_if_nothing_speaks_against_that_one() -> None:
    doubt = Doubt(generation=6, suspicion=1)
    assert doubt.settled_by(StoredSession(generation=7, token=Secret("token")))
    assert not doubt.settled_by(StoredSession(generation=7, token=Secret("token"), suspicions=1))
    assert not doubt.settled_by(StoredSession(generation=7, token=None))
