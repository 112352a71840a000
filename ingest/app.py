"""The receiver as a raw ASGI application: stores a body as it came, and answers 2xx only once it is durable.

ServiceTrade waits 5 s, tries three times, takes every status from 200 to 499 for delivered and then forgets. So on a
valid URL there is no redirect, and no 4xx for a body that is bad in whatever way: only 2xx, 503, or 413 above the hard
limit. JSON is not looked at here.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ingest.hooks import Hooks
from runtime import metrics
from runtime.kafka import KafkaError, Producer
from runtime.logs import log_event
from schemas.topics import RECEIPT_HEADER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = logging.getLogger(__name__)


class _TooLargeError(Exception):
    """The body is above the limit."""


class _UnreadError(Exception):
    """The request offers to change the protocol: its body is then not given to the application."""


class _SenderGoneError(Exception):
    """The sender closed the connection before the body was complete."""


class Receiver:
    """The ASGI application.

    Args:
        hooks: the valid URLs.
        producer: writes to the log.
        topic: full name of the raw log.
        body_limit_bytes: larger bodies are answered 413.
        ack_timeout_s: from the first byte of a request to 503.
    """

    def __init__(
        self, hooks: Hooks, producer: Producer, *, topic: str, body_limit_bytes: int, ack_timeout_s: float
    ) -> None:
        self._hooks = hooks
        self._producer = producer
        self._topic = topic
        self._body_limit_bytes = body_limit_bytes
        self._ack_timeout_s = ack_timeout_s

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return
        account = self._hooks.account_of(scope["path"])
        if account is None:
            metrics.UNKNOWN_URL.inc()
            await _answer(send, 404)
        elif scope["method"] != "POST":
            await _answer(send, 405)
        else:
            upgrade = any(name == b"upgrade" for name, _ in scope["headers"])
            await self._webhook(account, receive, send, upgrade=upgrade)

    async def _webhook(self, account: str, receive: Receive, send: Send, *, upgrade: bool) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                await self._append(account, await self._body(receive, upgrade=upgrade))
        except _SenderGoneError:
            return
        except _TooLargeError:
            status, outcome = 413, "too_large"
            limit = self._body_limit_bytes
            log_event(_log, "ingest.limited", level=logging.ERROR, account=account, limit="body", limit_bytes=limit)
        except (TimeoutError, KafkaError, _UnreadError) as error:
            status, outcome = 503, "unavailable"
            log_event(_log, "ingest.refused", level=logging.WARNING, account=account, reason=repr(error))
        else:
            status, outcome = 204, "stored"
            metrics.ACK_SECONDS.observe(time.monotonic() - began)
        metrics.WEBHOOKS_RECEIVED.labels(account, outcome).inc()
        await _answer(send, status)

    async def _body(self, receive: Receive, *, upgrade: bool) -> bytes:
        if upgrade:
            raise _UnreadError
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

    async def _append(self, account: str, body: bytes) -> None:
        """Return once every in-sync replica has the record; after a time-out it may still get there."""
        receipt = uuid.uuid4().hex.encode()
        sent = await self._producer.send(
            self._topic, key=account.encode(), value=body, headers=[(RECEIPT_HEADER, receipt)]
        )
        await asyncio.shield(sent)


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")] if status != 204 else []  # noqa: PLR2004 (204 has no length)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
