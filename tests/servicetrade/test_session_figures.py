"""What becomes of an account's session is shown in metrics: its state, its generation, the pause before a login."""

from __future__ import annotations

import pytest
from starlette.responses import JSONResponse

from runtime.metrics import REGISTRY, SESSION_STATES
from runtime.settings import LoginSettings, StoreSettings
from schemas.errors import LoginRefused, LoginUnavailable
from tests.servicetrade.conftest import OpenAccount
from tests.servicetrade.fake import FakeServiceTrade

pytestmark = pytest.mark.anyio


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"tradewind_servicetrade_{name}", {"account": "acme", **labels})


def state() -> list[str]:
    return [one for one in SESSION_STATES if shown("session_state", state=one)]


async def test_a_session_is_shown_as_live_and_every_login_raises_its_generation(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings)
    await worker.get("job", 1)
    assert (state(), shown("session_generation"), shown("login_pause_seconds")) == (["live"], 1, 0)
    api.kill_sessions()
    await worker.get("job", 1)
    assert (state(), shown("session_generation")) == (["live"], 2)


async def test_credentials_that_are_refused_are_shown_until_a_session_is_there(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    worker = await open_account(sqlite_settings, password="wrong")
    with pytest.raises(LoginRefused):
        await worker.get("job", 1)
    assert state() == ["refused"]
    assert api.logins == 1
    await (await open_account(sqlite_settings)).get("job", 1)
    assert state() == ["live"]


async def test_a_login_that_is_paused_is_shown_with_its_pause(
    api: FakeServiceTrade, open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    api.login_answers.append(JSONResponse({}, status_code=503))
    worker = await open_account(sqlite_settings, login=LoginSettings(interval_s=40, longest_pause_s=40))
    with pytest.raises(LoginUnavailable):
        await worker.get("job", 1)
    assert state() == ["unavailable"]
    assert 0 < (shown("login_pause_seconds") or 0) <= 60


async def test_every_outcome_of_a_login_is_there_before_the_first(
    open_account: OpenAccount, sqlite_settings: StoreSettings
) -> None:
    await open_account(sqlite_settings)
    outcomes = ("made", "refused", "throttled", "failed")
    assert all(shown("logins_total", outcome=one) is not None for one in outcomes)
