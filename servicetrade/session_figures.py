"""Tells, in metrics, what became of an attempt to get an account's session."""

from __future__ import annotations

from runtime import metrics
from schemas.errors import LoginRefused, LoginUnavailable, ServiceTradeError
from servicetrade.stored_session import Session


def tell_session(account: str, session: Session) -> None:
    """There is one."""
    _tell_state(account, "doubted" if session.doubted else "live")
    metrics.SESSION_GENERATION.labels(account).set(session.generation)
    metrics.LOGIN_PAUSE_SECONDS.labels(account).set(0)


def tell_no_session(account: str, error: ServiceTradeError) -> None:
    """There is none, and this is why."""
    _tell_state(account, "refused" if isinstance(error, LoginRefused) else "unavailable")
    pause_s = error.retry_after_s if isinstance(error, LoginUnavailable) else None
    metrics.LOGIN_PAUSE_SECONDS.labels(account).set(pause_s or 0)


def _tell_state(account: str, state: str) -> None:
    for one in metrics.SESSION_STATES:
        metrics.SESSION_STATE.labels(account, one).set(one == state)
