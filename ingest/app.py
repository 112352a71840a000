"""The receiver as a raw ASGI application: stores a body as it came, and answers 2xx only once it is durable.

ServiceTrade waits 5 s, tries three times, takes every status from 200 to 499 for delivered and then forgets. So on a
valid URL there is no redirect, and no 4xx for a body that is bad in whatever way: only 2xx, 503, or 413 above the hard
limit. JSON is not looked at here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingest.hooks import Hooks
from ingest.lane import Lanes
from ingest.witness import Witness
from runtime.logs import log_event
from schemas.errors import SpoolError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NO_CONTENT = 204
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
TOO_LARGE = 413
UNAVAILABLE = 503

_log = logging.getLogger(__name__)


class _TooLargeError(Exception):
    """The body is above the limit."""


class _SenderGoneError(Exception):
    """The sender closed the connection before the body was complete."""


class Receiver:
    """The ASGI application.

    Args:
        hooks: the valid URLs.
        lanes: where webhooks are made durable.
        witness: counts, and keeps the access log.
        body_limit_bytes: larger bodies are answered 413.
        answer_timeout_s: from the end of a request's head to 503.
    """

    def __init__(
        self, hooks: Hooks, lanes: Lanes, witness: Witness, *, body_limit_bytes: int, answer_timeout_s: float
    ) -> None:
        self._hooks = hooks
        self._lanes = lanes
        self._witness = witness
        self._body_limit_bytes = body_limit_bytes
        self._answer_timeout_s = answer_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        account = self._hooks.account_of(path)
        if account is None:
            self._witness.unknown_url(path)
            await _answer(send, NOT_FOUND)
        elif scope["method"] != "POST":
            await _answer(send, METHOD_NOT_ALLOWED)
        else:
            status = await self._webhook(account, path, receive)
            if status is not None:
                await _answer(send, status)

    async def _webhook(self, account: str, path: str, receive: Receive) -> int | None:
        began = time.monotonic()
        size = 0
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                body = await self._body(receive)
                size = len(body)
                came = time.monotonic()
                outcome = await self._lanes.store(account, body)
        except _SenderGoneError:
            return None
        except _TooLargeError:
            self._witness.too_large(account, self._body_limit_bytes)
            status = TOO_LARGE
        except (TimeoutError, SpoolError) as error:
            log_event(_log, "ingest.refused", level=logging.WARNING, account=account, reason=repr(error))
            self._witness.refused(account)
            status = UNAVAILABLE
        else:
            self._witness.durable(account, outcome, time.monotonic() - came)
            status = NO_CONTENT
        self._witness.answered(path, status, size, time.monotonic() - began)
        return status

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _SenderGoneError
            size += len(message.get("body", b""))
            # What is too much is read but not kept: a sender who is still writing would not see an answer.
            if size <= self._body_limit_bytes:
                parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        if size > self._body_limit_bytes:
            raise _TooLargeError
        return b"".join(parts)


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")] if status != NO_CONTENT else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
