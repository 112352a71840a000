"""Sends requests to one subscriber: to checked addresses only, in bounded time, following nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import cast

import httpx

from runtime.http import http_client
from runtime.sink_settings import SubscriberSettings
from schemas.errors import RetryLater, SettingsError
from servicetrade.auth import retry_after_of
from sinks.forward_answer import Answer
from sinks.forward_host import Host, Resolve, resolve_name

LONGEST_BODY_S = 1.0
"""The status has decided; the rest of an answer is worth a second, so that the connection can be used again."""
LARGEST_BODY = 4096
LONGEST_EXCERPT = 200  # characters

_PORTS = {"http": 80, "https": 443}
_CUT = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@asynccontextmanager
async def open_sender(
    name: str, settings: SubscriberSettings, *, resolve: Resolve = resolve_name
) -> AsyncIterator[Sender]:
    """A sender and its connections, for as long as the block lasts.

    Raises:
        SettingsError: the URL is none after all, or ca_file cannot be used.
    """
    setting = f"sinks.forward.{name}"
    try:
        url = httpx.URL(settings.url).copy_with(fragment=None)
    except httpx.InvalidURL as error:
        raise SettingsError(f"{setting}.url: {error}") from error
    host = Host(
        url.raw_host.decode(),
        url.port or _PORTS[url.scheme],
        allow_private=settings.allow_private,
        setting=f"{setting}.allow_private",
        resolve=resolve,
    )
    http = http_client(
        headers={"Accept-Encoding": "identity"},
        verify=_trust(setting, settings),
        # No proxy: it would resolve the name anew. No .netrc either.
        trust_env=False,
    )
    async with http:
        yield Sender(http, url, host, timeout_s=settings.timeout_s)


def _trust(setting: str, settings: SubscriberSettings) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"{setting}.ca_file: {settings.ca_file} cannot be used: {error}") from error
    return context


class Sender:
    """POSTs to one URL.

    Args:
        http: its connections are this subscriber's own: two that share an address would share a connection whose
            certificate was checked for the other's name.
        url: where to.
        host: finds its addresses.
        timeout_s: for a request, to the end of the answer's head. A third of it is for finding addresses, a third for
            connecting and a third for TLS at most, divided by the addresses: what is left is the subscriber's.
    """

    def __init__(self, http: httpx.AsyncClient, url: httpx.URL, host: Host, *, timeout_s: float) -> None:
        self._http = http
        self._url = url
        self._host = host
        self._timeout_s = timeout_s

    async def post(self, content: bytes, headers: Callable[[], Mapping[str, str]]) -> Answer:
        """Send once; once more if the connection is cut, as one is that was idle for too long.

        Args:
            content: JSON.
            headers: asked for every time the request is sent.

        Raises:
            RetryLater: no answer. Without a connection its scope is the sink; else the entity: it may be the change
                that the subscriber cannot stomach, and if it is not, several will fail in a row.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._first_answer(await self._addresses(), content, headers)
        except TimeoutError:
            raise RetryLater(f"{self._host.name}: no answer within {self._timeout_s:g} s") from None
        except httpx.RequestError as error:
            # Not "from error": that holds the request.
            raise RetryLater(f"{self._host.name}: no answer: {_why(error)}") from None
        excerpt = await _excerpt(response)
        return Answer(status=response.status_code, retry_after_s=retry_after_of(response), excerpt=excerpt)

    async def _addresses(self) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._timeout_s / 3):
                return await self._host.addresses()
        except TimeoutError:
            raise RetryLater(f"{self._host.name} cannot be resolved: no answer in time", scope="sink") from None

    async def _first_answer(
        self, addresses: tuple[str, ...], content: bytes, headers: Callable[[], Mapping[str, str]]
    ) -> httpx.Response:
        failures = []
        for address in addresses:
            request = self._request(address, content, connect_s=self._timeout_s / 3 / len(addresses))
            try:
                response = await self._send(request, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failures.append(f"{address}: {_why(error)}")
                continue
            self._host.worked(address)
            return response
        self._host.forget()
        raise RetryLater(f"{self._host.name}: no connection: {'; '.join(failures)}", scope="sink")

    def _request(self, address: str, content: bytes, *, connect_s: float) -> httpx.Request:
        return self._http.build_request(
            "POST",
            self._url.copy_with(host=address),
            content=content,
            headers={"Host": self._url.netloc.decode("ascii"), "Content-Type": "application/json"},
            timeout=httpx.Timeout(None, connect=connect_s),
            # The name that TLS asks for, and that the certificate has to bear.
            extensions={"sni_hostname": self._host.name},
        )

    async def _send(self, request: httpx.Request, headers: Callable[[], Mapping[str, str]]) -> httpx.Response:
        request.headers.update(headers())
        try:
            return await self._http.send(request, stream=True)
        except _CUT:
            request.headers.update(headers())
            return await self._http.send(request, stream=True)


def _why(error: httpx.RequestError) -> str:
    """What the operating system or TLS said, where it is known: httpx's own words tell less."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, TimeoutError):
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split()) or type(error).__name__


async def _excerpt(response: httpx.Response) -> str:
    content = bytearray()
    try:
        raw = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
        async with asyncio.timeout(LONGEST_BODY_S), aclosing(raw) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > LARGEST_BODY:
                    break
    except (TimeoutError, httpx.RequestError):
        pass  # the status has arrived, and that is what counts
    finally:
        await response.aclose()
    kind = response.headers.get("Content-Type", "")
    if not kind.startswith(("text/", "application/json", "application/problem+json")):
        return ""
    text = content[:LARGEST_BODY].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else " " for one in " ".join(text.split()))[:LONGEST_EXCERPT]
