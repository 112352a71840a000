"""Pure: what ServiceTrade's answer, or the lack of one, says about a request that was to change something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from schemas.errors import (
    ApiError,
    ApiUnreachable,
    LoginRefused,
    LoginUnavailable,
    RetryLater,
    Scope,
    ServiceTradeError,
    StoreError,
)

_UNAUTHORIZED, _TOO_EARLY, _TOO_MANY = 401, 425, 429
_NOT_TAKEN: Mapping[int, Scope] = {_UNAUTHORIZED: "entity", _TOO_EARLY: "entity", _TOO_MANY: "account"}
"""Statuses that say "not now": nothing has happened. What is in trouble then."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Done:
    """2xx: it has been performed."""

    entity: Mapping[str, Any] | None
    """As ServiceTrade answered it, None if it answered nothing."""


@dataclass(frozen=True, slots=True)
class Refused:
    """ServiceTrade says no for good; nothing has happened."""

    status: int
    messages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """It did not get as far as ServiceTrade, or came back undone."""

    retry: RetryLater


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may or may not have been performed."""

    status: int | None
    messages: tuple[str, ...]
    retry: RetryLater


Failure: TypeAlias = Refused | NothingHappened | Unknown
Answer: TypeAlias = Done | Failure


def failure_of(error: ServiceTradeError | StoreError) -> Failure:
    """What a failed call of `servicetrade.account.Account` says.

    5xx, no answer and whatever is no answer of the API (a redirect, a page instead of JSON, 408) say nothing: the work
    may have been done before something failed. The session comes before the request, so without one nothing was sent.
    """
    match error:
        case LoginRefused():
            return NothingHappened(RetryLater(str(error), scope="account", lasting=True))
        case LoginUnavailable():
            return NothingHappened(RetryLater(str(error), after_s=error.retry_after_s, scope="account"))
        case StoreError():  # the store of sessions
            return NothingHappened(RetryLater(str(error), scope="sink"))
        case ApiUnreachable(sent=False):
            return NothingHappened(RetryLater(str(error), scope="account"))
        case ApiError():
            return _failure_of_status(error)
        case _:
            return Unknown(None, (str(error),), RetryLater(str(error)))


def _failure_of_status(error: ApiError) -> Failure:
    scope = _NOT_TAKEN.get(error.status)
    if scope is not None:
        return NothingHappened(RetryLater(str(error), after_s=error.retry_after_s, scope=scope))
    if error.is_final:
        return Refused(error.status, error.messages)
    return Unknown(error.status, error.messages, RetryLater(str(error), after_s=error.retry_after_s))


def matches(item: Any, wanted: Any) -> bool:
    """Whether an item of a list is the wanted one: of an object only what is wanted of it has to be equal."""
    if isinstance(wanted, Mapping):
        return isinstance(item, Mapping) and all(
            matches(item.get(name, _MISSING), value) for name, value in wanted.items()
        )
    return bool(item == wanted) and isinstance(item, bool) == isinstance(wanted, bool)
