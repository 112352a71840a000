"""The check of one account's shared ServiceTrade session: it is proved, or made as every worker makes it.

A session in the store is asked about (GET /auth) and used. Where there is none that lives, the login is made under the
fleet's lease and stored for all processes: it is theirs as well, and there is one at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from doctor.finding import SERVICETRADE, Finding
from runtime.settings import LoginSettings
from runtime.toml_reader import Secret
from schemas.errors import LoginRefused, LoginThrottled, LoginUnavailable, StoreError
from schemas.moments import shown_ago, shown_span
from servicetrade.account import Account
from servicetrade.auth import CookieCalls
from servicetrade.session import SharedSession
from servicetrade.session_store import SessionStore
from servicetrade.stored_session import Session, StoredSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """An account, and how to speak to ServiceTrade for it."""

    name: str
    username: str
    fingerprints: tuple[str, ...]
    """Of its credentials, from `SessionStore.fingerprints`."""
    calls: CookieCalls
    visit: Callable[[Secret], Account]
    """Its entities, with this session and no other."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of asking for a session."""

    finding: Finding
    token: Secret | None = None
    """Alive a moment ago; None: there is none to be had."""


async def check_session(patient: Patient, store: SessionStore, settings: LoginSettings, *, login: bool) -> Visit:
    """Prove the account's session, or make one. Cancelled, it waits for the end of a login that is under way.

    Args:
        patient: the account.
        store: of the fleet's sessions.
        settings: servicetrade.login.
        login: False: log nobody in.
    """
    try:
        row = await store.read(patient.name)
        dead: StoredSession | None = None
        if row.token is not None and not row.made_by_others(patient.fingerprints):
            if await patient.calls.is_alive(row.token):
                return Visit(_alive(patient, row), row.token)
            dead = row
        return await _replaced(patient, store, settings, row, dead, login=login)
    except LoginRefused as error:
        finding = _refused(patient, f"ServiceTrade refuses user name or password: {error}")
    except LoginUnavailable as error:
        finding = _unavailable(patient, error)
    except StoreError as error:
        finding = SERVICETRADE.failed(patient.name, str(error), "look at the database's log")
    return Visit(finding)


def late(patient: Patient, patience_s: float) -> Visit:
    """What is told of an account that had no session after so many seconds."""
    what = f"no session within {patience_s:g} s: a login of another process, or a pause, is still under way"
    return Visit(SERVICETRADE.failed(patient.name, what, "`tradewind session list` shows until when; try again then"))


def _alive(patient: Patient, row: StoredSession) -> Finding:
    if row.refuses(patient.fingerprints):
        return _refused(patient, f"the shared session lives, but a login was refused since: {row.refused_reason}")
    now_ms = time.time_ns() // 1_000_000
    made = f"generation {row.generation}, made {shown_ago(row.made_ms, now_ms)}"
    return SERVICETRADE.ok(patient.name, f"the shared session lives ({made}); no login was needed")


async def _replaced(
    patient: Patient,
    store: SessionStore,
    settings: LoginSettings,
    row: StoredSession,
    dead: StoredSession | None,
    *,
    login: bool,
) -> Visit:
    """A session in the place of the dead one, or of none."""
    if row.undecryptable:
        # Another one would take its place, and the processes that hold the right key could not read that.
        return Visit(SERVICETRADE.not_checked(patient.name, "store.key does not open the session that is in the store"))
    if row.refuses(patient.fingerprints):
        what = f"locked: a login with these credentials was refused ({row.refused_reason}), nobody tries again"
        return Visit(_refused(patient, what))
    if not login:
        there = "the session in the store is dead" if dead else "there is no session of these credentials in the store"
        why = f"{there}; not asked to log in (--no-login)"
        return Visit(SERVICETRADE.not_checked(patient.name, why, "the next request of any process logs in"))
    if row.login_failures and row.login_wait_s > 0:
        what = f"logins are paused for {shown_span(round(row.login_wait_s * 1000))} after {row.login_failures} failed"
        do = f"wait, or `tradewind session unlock {patient.name}` if the reason is gone"
        return Visit(SERVICETRADE.failed(patient.name, what, do))
    session = await _logged_in(patient, store, settings, dead)
    what = f"there is a new session of {patient.username}: generation {session.generation}, which all processes share"
    return Visit(SERVICETRADE.ok(patient.name, what), session.token)


async def _logged_in(
    patient: Patient, store: SessionStore, settings: LoginSettings, dead: StoredSession | None
) -> Session:
    shared = SharedSession(patient.name, store, patient.calls, fingerprints=patient.fingerprints, settings=settings)
    try:
        session = await shared.current()
        if dead is not None and session.generation == dead.generation:
            session = await shared.replace(session, time.monotonic())
        return session
    finally:
        await shared.close()


def _refused(patient: Patient, what: str) -> Finding:
    do = (
        f"put the right ones into accounts.{patient.name}: username and password; if these are right (the user was "
        f"locked on ServiceTrade), `tradewind session unlock {patient.name}`"
    )
    return SERVICETRADE.failed(patient.name, what, do)


def _unavailable(patient: Patient, error: LoginUnavailable) -> Finding:
    again = "" if error.retry_after_s is None else f"; the next try in {shown_span(round(error.retry_after_s * 1000))}"
    if isinstance(error.__cause__ or error, LoginThrottled):
        do = "wait: more logins prolong it; `tradewind session list` shows how often the fleet logs in"
        return SERVICETRADE.failed(patient.name, f"logins are throttled: {error}{again}", do)
    do = "look at servicetrade.base_url, and at DNS, proxy (HTTPS_PROXY) and firewall of this machine"
    return SERVICETRADE.failed(patient.name, f"ServiceTrade gives no session: {error}{again}", do)
