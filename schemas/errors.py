"""Every error that the product raises on purpose, as one tree.

TradewindError
├── SettingsError            the configuration is wrong: names the key and, where known, the line
│   └── BrokerRefused        Kafka answers, but not to somebody with this configuration (runtime/kafka/connecting.py)
├── BrokerError              the embedded broker could not be fetched or started
├── SupervisorError          a process of the product did not become ready, or is not known
├── ProcessorsError          the processors' worker ended although nobody stopped it
├── SpoolError               the spool's disk is full or fails, or the spool holds as much as it may
├── StoreError               the SQL store cannot be opened, or did not do what it was asked
├── TopicsError              a topic is missing, or not as correctness needs it
├── SinkError                what a sink may raise from deliver(); anything else crashes the worker
│   ├── RetryLater           try the same change again after a pause
│   ├── Reject               this change can never be delivered: dead-letter it
│   └── Halt                 the sink must stop until a person has looked at it
├── ServiceTradeError        the ServiceTrade API did not do what was asked
│   ├── LoginRefused         403 on login: wrong credentials, or stopped by an operator
│   ├── LoginUnavailable     no session for now: time-out, paused, another worker is busy logging in
│   │   └── LoginThrottled   ServiceTrade says that logins come too often
│   ├── ApiError             an answer other than 2xx, with ServiceTrade's own messages
│   │   ├── NotFound         404 on a resource
│   │   └── PermissionDenied 403 on a resource: the user may not, whatever the session
│   └── ApiUnreachable       no answer at all: connection refused, reset, time-out
└── LogGapError              the log does not hold what has to be read
"""

from __future__ import annotations

import math
from typing import Literal, get_args

Scope = Literal["entity", "account", "sink"]
_CLIENT_ERROR = 4  # the first digit of a status
_NOT_NOW = frozenset({401, 408, 425, 429})
LONGEST_REASON = 1_000
"""Characters: it is read by people, and travels in headers."""


class TradewindError(Exception):
    """Base of all errors that the product raises on purpose."""


class SettingsError(TradewindError):
    """The configuration is wrong; the message names the file, the line where known, and the key."""


class BrokerError(TradewindError):
    """The embedded Kafka broker could not be resolved, formatted or started."""


class SupervisorError(TradewindError):
    """A supervised process is not known, or did not become ready in time."""


class ProcessorsError(TradewindError):
    """The processors' worker ended although nobody stopped it."""


class SpoolError(TradewindError):
    """The spool cannot take a webhook: its disk is full or fails, or it holds as much as it may."""


class StoreError(TradewindError):
    """The SQL store cannot be opened, or did not do a transaction: no answer, a wrong password, locked for too long."""


class TopicsError(TradewindError):
    """A topic is missing, or has a setting under which webhooks would be lost or misread."""


class LogGapError(TradewindError):
    """The log does not hold what has to be read: removed by retention, cut off, or another topic by that name."""


class SinkError(TradewindError):
    """Base of the failures that the sink worker knows how to handle.

    Args:
        reason: one line for people; what no log, header or database could hold is taken out, and the end of a long one.
    """

    def __init__(self, reason: str) -> None:
        # Half of a surrogate pair is no UTF-8, and PostgreSQL holds no U+0000.
        super().__init__(str(reason)[:LONGEST_REASON].encode(errors="replace").decode().replace("\0", ""))


class RetryLater(SinkError):
    """The delivery failed for now.

    Args:
        reason: one line for people.
        after_s: seconds to wait at least (a Retry-After), or None to let the worker choose.
        scope: what is in trouble: this entity, all of its account, or all that the sink delivers.
        lasting: nobody expects it to pass within seconds, so what is in trouble is put aside at once.
    """

    def __init__(
        self, reason: str, *, after_s: float | None = None, scope: Scope = "entity", lasting: bool = False
    ) -> None:
        super().__init__(reason)
        if scope not in get_args(Scope):
            raise ValueError(f"scope is one of {', '.join(get_args(Scope))}; found {scope!r}")
        if after_s is not None and not (isinstance(after_s, int | float) and math.isfinite(after_s)):
            raise ValueError(f"after_s is a number of seconds, found {after_s!r}")
        self.after_s = after_s
        self.scope = scope
        self.lasting = lasting


class Reject(SinkError):
    """The delivery can never succeed; the change belongs into the dead letters."""


class Halt(SinkError):
    """The other side wants nothing more: the sink stops, in all processes, until `tradewind sink resume`."""


class ServiceTradeError(TradewindError):
    """Base of everything that the ServiceTrade client raises."""


class LoginRefused(ServiceTradeError):
    """POST /auth answered 403: no further login happens until the credentials change or someone unlocks."""


class LoginUnavailable(ServiceTradeError):
    """No session can be had right now.

    Args:
        reason: one line for people.
        retry_after_s: seconds until another attempt makes sense, or None if unknown.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class LoginThrottled(LoginUnavailable):
    """The login was answered with one of the configured throttling statuses."""


class ApiError(ServiceTradeError):
    """ServiceTrade answered with a status other than 2xx.

    Args:
        status: the HTTP status.
        messages: the texts of `messages.error`, `messages.validation` of the answer, possibly none.
        retry_after_s: seconds from a Retry-After header, or None.
    """

    def __init__(self, status: int, messages: tuple[str, ...] = (), *, retry_after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}" + (": " + "; ".join(messages) if messages else ""))
        self.status = status
        self.messages = messages
        self.retry_after_s = retry_after_s

    @property
    def is_final(self) -> bool:
        """Whether the same request would be answered so again: a 4xx, but for those that say "not now"."""
        return self.status // 100 == _CLIENT_ERROR and self.status not in _NOT_NOW


class NotFound(ApiError):
    """404 on a resource: the entity does not exist (any more)."""


class PermissionDenied(ApiError):
    """403 on a resource: the API user lacks a permission (for webhooks admin.account); no login would change that."""


class ApiUnreachable(ServiceTradeError):
    """No answer from ServiceTrade: connection refused or reset, or a time-out.

    Args:
        reason: one line for people.
        sent: False if ServiceTrade cannot have got the request: there was no connection.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent
