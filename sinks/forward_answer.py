"""Pure: what a subscriber's answer means for the change that it was sent."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from schemas.errors import Halt, Reject, RetryLater, Scope

_SUCCESS, _REDIRECT, _CLIENT_ERROR = 2, 3, 4  # the first digit of a status
_SET_UP = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    }
)
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_NOT_NOW = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """As much of an answer as counts."""

    status: int
    retry_after_s: float | None = None
    """Seconds."""
    excerpt: str = ""
    """How its text begins, on one line."""


def failure_of(answer: Answer) -> RetryLater | Reject | Halt | None:
    """What to raise; None: the change is delivered."""
    status, hundreds = answer.status, answer.status // 100
    said = f"HTTP {status}" + (f": {answer.excerpt}" if answer.excerpt else "")
    scope: Scope = "sink"
    if hundreds == _SUCCESS:
        return None
    if status == HTTPStatus.GONE:
        return Halt(f"the subscriber wants nothing more: {said}")
    if hundreds == _REDIRECT:
        said = f"HTTP {status}: redirects are not followed; set url to where it leads"
    elif status in _SET_UP:
        said = f"about the subscriber's set-up, not the change: {said}"
    elif hundreds == _CLIENT_ERROR and status not in _BUSY | _NOT_NOW:
        return Reject(said)
    elif status not in _BUSY:
        scope = "entity"
    return RetryLater(said, after_s=answer.retry_after_s, scope=scope)
