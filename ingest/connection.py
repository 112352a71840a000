"""One HTTP/1.1 connection: reads requests within limits, and answers them in their order.

A server for all purposes answers a malformed request 400, an endless head 431 and an unfinished one never, and
ServiceTrade takes a 4xx for "delivered". So whatever is refused on a valid URL is answered 503, even where HTTP has a
4xx for it; other URLs get the 4xx. The parser is llhttp, by httptools.

Nothing here costs a request a task or a timer. The size of a head is held by feeding the parser no more than the limit
at a time, and times are held by one sweep over the open connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import urllib.parse
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import httptools

from ingest.exchange import CLOSING, CONTINUE, GOING_ON, Exchange
from ingest.receiver import BAD_REQUEST, HEAD_TOO_LARGE, UNAVAILABLE, Receiver
from runtime import metrics
from runtime.logs import log_event
from runtime.settings import IngestSettings

PIPELINED: Final = 16
"""When so many requests of a connection wait for their answers, no more is read from it."""

# What the parser is in the middle of.
_BETWEEN, _HEAD, _BODY = range(3)

_REQUEST_LINE = re.compile(rb"[^\s]{1,32} +(?:https?://[^/\s]*)?(/[!-~]*)")
_log = logging.getLogger(__name__)


class _UnservedError(Exception):
    """A request that is not looked at: it has no URL, asks for a tunnel, or comes after the last."""


class Connection(asyncio.Protocol):
    """What the event loop and the parser call.

    An offer to change the protocol (WebSocket, HTTP/2) is passed over in silence, and the request read as if it did not
    make one.

    Args:
        receiver: takes whole requests.
        settings: head_limit_bytes, answer_timeout_s and idle_timeout_s hold here.
        admit: asked once whether there may be one more connection.
        forget: told once that it has ended.
    """

    def __init__(
        self,
        receiver: Receiver,
        settings: IngestSettings,
        admit: Callable[[Connection], bool],
        forget: Callable[[Connection], None],
    ) -> None:
        self._receiver = receiver
        self._settings = settings
        self._admit = admit
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = _parser(self)
        self._unanswered: deque[Exchange] = deque()
        self._phase = _BETWEEN
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects = False
        self._reading: Exchange
        """The request that the parser is in the middle of, from its head's end on."""
        self._spent = 0
        """Bytes since the parser last got anywhere: completed a head or a message, or delivered some of a body."""
        self._moved = False
        self._begun = b""
        """These bytes, but for a body's."""
        self._closing = False
        """Nothing more is read."""
        self._finishing = False
        """It is closed when all that was begun is answered."""
        self._paused = False
        """Too many requests wait for their answers."""
        self._blocked = False
        """The sender does not take its answers."""
        self._unread = b""
        self._began = 0.0
        """When the request that is being read began; the loop's clock."""
        self._since = 0.0
        """When the connection was made, a request began or one was answered, whichever came last; the loop's clock."""
        self._flushed = 0.0
        """When the sender was last seen to have taken all of its answers."""

    # -- what the event loop calls
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer 503 at once if there are too many connections."""
        self._transport = transport = cast("asyncio.Transport", transport)
        self._since = self._flushed = self._loop.time()
        if not self._admit(self):
            self._closing = True
            transport.write(CLOSING[UNAVAILABLE])
            transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the connection; what its sender still waits for goes on."""
        self._closing = True
        self._forget(self)

    def eof_received(self) -> bool:
        """The sender sends no more; it may still wait for answers."""
        self._finishing = True
        return self._phase == _BETWEEN and bool(self._unanswered)

    def data_received(self, data: bytes) -> None:
        """Read on, never more than the limit on heads at a time, until too many requests wait."""
        limit = self._settings.head_limit_bytes
        if len(data) <= limit - self._spent:
            self._read(data)
            return
        rest = memoryview(data)
        while rest and not (self._closing or self._paused):
            room = limit - self._spent
            self._read(rest[:room])
            rest = rest[room:]
        self._unread = bytes(rest)

    def pause_writing(self) -> None:
        """The sender does not take its answers: it gets no more."""
        self._blocked = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._blocked = False
        if not self._paused:
            self._transport.resume_reading()

    # -- what the server calls
    def check(self, now: float) -> None:
        """Refuse the oldest request, or close the connection, if its time is over."""
        transport, settings = self._transport, self._settings
        if not transport.get_write_buffer_size():
            self._flushed = now
        elif now - self._flushed >= settings.answer_timeout_s:
            transport.abort()  # close() would wait until the sender reads.
            return
        while self._unanswered and now - self._unanswered[0].began >= settings.answer_timeout_s:
            late = self._unanswered[0]
            if late is self._reading and self._phase == _BODY:
                break
            late.answer(self._receiver.too_late(late.account or "", late.path))
        if self._closing:
            return
        waited_s = now - self._since
        if self._phase != _BETWEEN:
            if waited_s >= settings.answer_timeout_s:
                self._refuse("slow", None)
        elif not self._unanswered and waited_s >= settings.idle_timeout_s:
            transport.close()

    def finish(self) -> None:
        """Answer what was begun, then close."""
        self._finishing = True
        if self._phase == _BETWEEN:
            self._closing = True
        if not self._unanswered:
            self._transport.close()

    # -- what the parser calls; whatever these raise becomes its HttpParserCallbackError
    def on_message_begin(self) -> None:
        """A request's first byte is there."""
        self._phase = _HEAD
        self._url = b""
        self._headers = []
        self._expects = False
        self._began = self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Some of the URL is there."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is whole."""
        self._headers.append((name, value))
        if name.lower() == b"expect":
            self._expects = True

    def on_headers_complete(self) -> None:
        """Whose webhook it is, and whether it is one, is known now."""
        parser = self._parser
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise _UnservedError
            return  # The head is read again.
        if self._closing:
            raise _UnservedError
        path = _path(self._url)
        self._phase = _BODY
        self._moved = True
        exchange = self._reading = Exchange(self.flush, self._began)
        exchange.path = path
        exchange.account = self._receiver.account_of(path)
        exchange.keep_alive = parser.should_keep_alive()
        exchange.expects = self._expects
        self._unanswered.append(exchange)
        if len(self._unanswered) > PIPELINED:
            self._paused = True
            self._transport.pause_reading()
        status = self._receiver.refusal(exchange.account, path, parser.get_method())
        if status is not None:
            exchange.answer(status)
        elif exchange.expects:
            self._tell_to_go_on()

    def on_body(self, body: bytes) -> None:
        """Some of the body is there."""
        self._moved = True
        exchange = self._reading
        exchange.size += len(body)
        # What is too much is read but not kept: a sender who is still writing would not see an answer.
        if exchange.status is None and exchange.size <= self._receiver.body_limit_bytes:
            exchange.body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless its head is about to be read again."""
        if self._phase != _BODY:
            return
        self._moved = True
        exchange, account = self._reading, self._reading.account
        exchange.expects = False
        self._closing = self._closing or self._finishing or not exchange.keep_alive
        if exchange.status is None and account is not None:
            if exchange.size > self._receiver.body_limit_bytes:
                exchange.answer(self._receiver.too_large(account, exchange.path, exchange.size))
            else:
                body = b"".join(exchange.body)
                exchange.body.clear()
                self._receiver.take(account, exchange.path, body, self._loop.time(), exchange.answer)
        # Last: whatever failed until here is answered 503.
        self._phase = _BETWEEN

    def flush(self) -> None:
        """Send the answers that are known and whose turn it is."""
        unanswered, transport = self._unanswered, self._transport
        while unanswered and unanswered[0].status is not None:
            exchange = unanswered.popleft()
            last = not exchange.keep_alive or ((self._closing or self._finishing) and not unanswered)
            if not transport.is_closing():
                transport.write((CLOSING if last else GOING_ON)[exchange.status or UNAVAILABLE])
            if last:
                self._closing = True
                transport.close()
                return
        self._since = self._loop.time()
        if self._paused and len(unanswered) <= PIPELINED:
            self._paused = False
            self._loop.call_soon(self._resume)
        if unanswered and unanswered[0].expects:
            self._tell_to_go_on()

    # -- reading
    def _resume(self) -> None:
        unread, self._unread = self._unread, b""
        self.data_received(unread)
        if not (self._paused or self._blocked or self._transport.is_closing()):
            self._transport.resume_reading()

    def _read(self, piece: bytes | memoryview) -> None:
        rest: bytes | memoryview | None = piece
        while rest is not None and not self._closing:
            rest = self._feed(rest)

    def _feed(self, piece: bytes | memoryview) -> bytes | memoryview | None:
        """Let the parser read; returns what it has not looked at."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_upgrade()
            return piece[offer.args[0] :]
        except httptools.HttpParserError as error:
            unserved = isinstance(error.__context__, _UnservedError)
            if unserved and self._closing:
                return None
            if isinstance(error, httptools.HttpParserCallbackError) and not unserved:
                log_event(_log, "ingest.fault", level=logging.ERROR, fault=error.__context__)
            if self._phase != _BODY:
                self._find_url(self._begun + bytes(piece))
            self._refuse("malformed", BAD_REQUEST)
        else:
            self._spent = 0 if self._moved else self._spent + len(piece)
            self._begun = b"" if self._moved or self._phase == _BODY else self._begun + bytes(piece)
            self._moved = False
            if self._spent >= self._settings.head_limit_bytes:
                self._refuse("head", HEAD_TOO_LARGE)
        return None

    def _find_url(self, text: bytes) -> None:
        """The parser does not tell of a URL in which it finds a fault, and ServiceTrade's may have a bad query."""
        urls = [self._url, *_REQUEST_LINE.findall(text)]
        self._phase = _HEAD
        self._url = next((url for url in urls if self._account_by(url) is not None), self._url)

    def _account_by(self, url: bytes) -> str | None:
        with contextlib.suppress(_UnservedError):
            return self._receiver.account_of(_path(url))
        return None

    def _pass_over_upgrade(self) -> None:
        """Read the head again without the offer: the parser takes a request that has one to be without a body."""
        version = self._parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self._parser.get_method(), self._url, version)]
        lines += [b"%s: %s" % header for header in self._headers if header[0].lower() != b"upgrade"]
        self._parser = _parser(self)
        self._feed(b"\r\n".join([*lines, b"", b""]))

    def _tell_to_go_on(self) -> None:
        first = self._unanswered[0]
        if first is self._reading and first.expects:
            first.expects = False
            self._transport.write(CONTINUE)

    def _refuse(self, limit: str, otherwise: int | None) -> None:
        """End the connection with a 503 if the request that is being read has a valid URL.

        Args:
            limit: label of the metric.
            otherwise: status where the URL is not valid, or None to say nothing.
        """
        self._closing = True
        if self._phase == _BODY:
            exchange = self._reading
            account = exchange.account
            if exchange.status is not None:  # It was answered before its body was there.
                self._close_if_all_is_said()
                return
        else:
            exchange = Exchange(self.flush, self._began)
            account = None if self._phase == _BETWEEN else self._account_by(self._url)
        metrics.WEBHOOKS_LIMITED.labels(account or "", limit).inc()
        if account is not None:
            client = self._transport.get_extra_info("peername") or ("",)
            log_event(_log, "ingest.limited", level=logging.ERROR, account=account, limit=limit, client=client[0])
        status = otherwise if account is None else UNAVAILABLE
        if status is None:
            self._close_if_all_is_said()
            return
        if self._phase != _BODY:
            self._unanswered.append(exchange)
        exchange.keep_alive = False
        exchange.answer(status)

    def _close_if_all_is_said(self) -> None:
        if not self._unanswered:
            self._transport.close()


def _parser(connection: Connection) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(connection)
    # A request may follow one that says "connection: close"; it is not answered, but is no fault of the first.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _path(url: bytes) -> str:
    """The decoded path of a request's URL, without the query; empty if it has none.

    Raises:
        _UnservedError: it is no URL.
    """
    raw = url.partition(b"?")[0]
    if not raw.startswith(b"/"):
        try:
            raw = httptools.parse_url(url).path or b""
        except httptools.HttpParserInvalidURLError as error:
            raise _UnservedError from error
    path = raw.decode("ascii", "replace")
    return urllib.parse.unquote(path) if "%" in path else path
