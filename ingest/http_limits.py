"""The limits that uvicorn does not have: on heads, connections, and senders that neither go on nor read.

ServiceTrade takes a 4xx for "delivered" and forgets the webhook, but comes again after a 503 or a lost connection. So
whatever is refused on a valid URL is answered 503, even where HTTP has a 4xx for it; other URLs get the 4xx.

Nothing here costs a request a timer or a look at its headers. The size of a head is held by feeding the parser no more
than the limit at a time, and times are held by one sweep over the open connections, which also stands in for the
keep-alive timer that uvicorn would set and cancel for each request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.logs import log_event
from runtime.metrics import WEBHOOKS_LIMITED
from runtime.settings import IngestSettings

AccountOf = Callable[[str], str | None]
"""The account that a path (decoded, without the query) is a valid webhook URL of, or None."""

PIPELINED: Final = 16
"""Requests that may wait behind one that is not answered yet. Each costs a hundred times the memory it took to send."""

# What the parser is in the middle of.
_BETWEEN, _HEAD, _BODY = range(3)

_REQUEST_LINE = re.compile(rb"\s*[^\s]{1,32} +(?:https?://[^/\s]*)?(/[!-~]*)")
_LOG_INTERVAL_S = 60.0
_log = logging.getLogger(__name__)


class _NoPathError(Exception):
    """CONNECT asks for a tunnel."""


class _CrowdedError(Exception):
    """Too many requests wait on one connection."""


class HttpLimits:
    """The limits of one HTTP server, and its open connections.

    Args:
        settings: head_limit_bytes, connection_limit, answer_timeout_s and idle_timeout_s hold here.
        account_of: asked only about requests that are refused.
    """

    def __init__(self, settings: IngestSettings, account_of: AccountOf) -> None:
        self.settings = settings
        self.account_of = account_of
        self.connections: set[LimitedProtocol] = set()
        self._turned_away = 0
        self._silent_until = 0.0

    def protocol(self) -> type[LimitedProtocol]:
        """What `uvicorn.Config` takes as `http`: a protocol that knows these limits."""

        class Limited(LimitedProtocol):
            limits = self

        return Limited

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Hold the limits on time for as long as the block lasts, which has to enclose the server's shutdown too."""
        async with asyncio.TaskGroup() as tasks:
            sweeping = tasks.create_task(self._sweep(), name="http-limits")
            try:
                yield
            finally:
                sweeping.cancel()

    def turn_away(self) -> None:
        """Count a connection that is one too many."""
        WEBHOOKS_LIMITED.labels("", "connections").inc()
        self._turned_away += 1

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        # Often enough that a slow head is answered while ServiceTrade still listens: it hangs up after 5 s.
        interval_s = min(1.0, self.settings.answer_timeout_s / 10)
        while True:
            await asyncio.sleep(interval_s)
            now = loop.time()
            for connection in tuple(self.connections):
                connection.check(now)
            if self._turned_away and now >= self._silent_until:
                self._tell_turned_away()
                self._silent_until = now + _LOG_INTERVAL_S

    def _tell_turned_away(self) -> None:
        count, self._turned_away = self._turned_away, 0
        level = logging.WARNING
        log_event(_log, "ingest.limited", level=level, account="", limit="connections", connections=count)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection, with limits; `HttpLimits.protocol` makes the class that a server uses.

    An offer to change the protocol (WebSocket, HTTP/2) is passed over in silence, and the request read as if it did not
    make one. uvicorn would give the application that request without its body.
    """

    limits: ClassVar[HttpLimits]

    _phase = _BETWEEN
    _spent = 0
    """Bytes since the parser last got anywhere: completed a head or a message, or delivered some of a body."""
    _moved = False
    _refusal: bytes | None = None
    """What remains to be said. Once it is set nothing more is read."""
    _since = 0.0
    """When the connection was made, a request began or one was answered, whichever came last; the loop's clock."""
    _flushed = 0.0
    """When the sender was last seen to have taken all of its answers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Answer 503 at once if there are too many connections."""
        limits = self.limits
        if len(limits.connections) >= limits.settings.connection_limit:
            limits.turn_away()
            self.transport = transport
            self._refusal = _answer(503)
            self._hang_up()
            return
        super().connection_made(transport)
        limits.connections.add(self)
        self._since = self._flushed = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.limits.connections.discard(self)
        super().connection_lost(exc)

    def check(self, now: float) -> None:
        """Close the connection, or refuse its request, if its time is over.

        A request that the application has not answered yet is left to the application, which has a deadline.
        """
        transport, settings = self.transport, self.limits.settings
        if not transport.get_write_buffer_size():
            self._flushed = now
        elif now - self._flushed >= settings.answer_timeout_s:
            transport.abort()  # close() would wait until the sender reads.
        if transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return
        waited_s = now - self._since
        if self._phase == _BETWEEN:
            if waited_s >= settings.idle_timeout_s:
                transport.close()
        elif waited_s >= settings.answer_timeout_s:
            self._refuse("slow", None)

    # What the transport calls. Replaced: uvicorn's logs each malformed request, and lets any sender make it do so.
    def data_received(self, data: bytes) -> None:
        """Read on, never more than the limit on heads at a time."""
        limit = self.limits.settings.head_limit_bytes
        if len(data) <= limit - self._spent:
            self._read(data)
            return
        rest = memoryview(data)
        while rest and self._refusal is None:
            room = limit - self._spent
            self._read(rest[:room])
            rest = rest[room:]

    def _read(self, piece: bytes | memoryview) -> None:
        if self._refusal is not None:
            return
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_upgrade(piece[offer.args[0] :])
        except httptools.HttpParserError as error:
            if self._phase == _HEAD and not self.url and not self._moved:
                # The parser does not tell of a URL in which it finds a fault, and ServiceTrade's may have a bad query.
                line = _REQUEST_LINE.match(piece)
                self.url = line[1] if line else b""
            if isinstance(error.__context__, _CrowdedError):
                self._refuse("connections", HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                self._refuse("malformed", HTTPStatus.BAD_REQUEST)
        else:
            self._spent = 0 if self._moved else self._spent + len(piece)
            self._moved = False
            if self._spent >= self.limits.settings.head_limit_bytes:
                self._refuse("head", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _pass_over_upgrade(self, rest: bytes | memoryview) -> None:
        """Read the head again without the offer: the parser takes a request that has one to be without a body."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
        self._read(b"\r\n".join([*lines, b"", b""]))
        self._read(rest)

    # What the parser calls; whatever these raise becomes its HttpParserCallbackError.
    def on_message_begin(self) -> None:
        """A request's first byte is there."""
        super().on_message_begin()
        self._phase = _HEAD
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Start the application, or queue the request behind the one before."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _NoPathError
            return
        if len(self.pipeline) >= PIPELINED:
            raise _CrowdedError
        super().on_headers_complete()
        self._phase = _BODY
        self._moved = True

    def on_body(self, body: bytes) -> None:
        """Some of the body is there."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless its head is about to be read again."""
        if self._phase == _BODY:
            super().on_message_complete()
            self._phase = _BETWEEN
            self._moved = True

    # What a request's cycle calls. Replaced: uvicorn's sets a timer for each request, and one that fails to close a
    # connection on which bytes arrive but no request.
    def on_response_complete(self) -> None:
        """Go on to the next request, or refuse it if that was decided meanwhile."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._hang_up()

    def _refuse(self, limit: str, otherwise: int | None) -> None:
        """End the connection with a 503 if the request that is being read has a valid URL.

        Args:
            limit: label of the metric.
            otherwise: status where the URL is not valid, or None to say nothing.
        """
        own = self.cycle if self._phase == _BODY else None
        self._refusal = b""
        if own is not None and own.response_complete:  # It was answered before its body was there.
            self.transport.close()
            return
        account = self._account()
        WEBHOOKS_LIMITED.labels(account or "", limit).inc()
        if account is not None:
            client = self.client[0] if self.client else ""
            log_event(_log, "ingest.limited", level=logging.ERROR, account=account, limit=limit, client=client)
        status = otherwise if account is None else HTTPStatus.SERVICE_UNAVAILABLE
        if status is not None and not (own and own.response_started):
            self._refusal = _answer(status)
        if not self._others_wait():
            self._hang_up()

    def _others_wait(self) -> bool:
        """Whether requests before the refused one are still to be answered; the refused one itself is withdrawn."""
        if self._phase != _BODY:
            return self.cycle is not None and not self.cycle.response_complete
        # What the application still sends goes nowhere; when the connection ends it sees a disconnect.
        self.cycle.disconnected = True
        if self.pipeline:
            self.pipeline.popleft()  # The newest: it has not begun, because another is being answered.
            return True
        return False

    def _account(self) -> str | None:
        if self._phase == _BETWEEN:
            return None
        try:
            path = httptools.parse_url(self.url).path
        except httptools.HttpParserInvalidURLError:
            return None
        return None if path is None else self.limits.account_of(urllib.parse.unquote(path.decode("ascii", "replace")))

    def _hang_up(self) -> None:
        if self._refusal:
            self.transport.write(self._refusal)
        self.transport.close()


def _answer(status: int) -> bytes:
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    return f"{line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
