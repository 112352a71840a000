"""HTTP connections for many requests at once: what a request costs does not grow with how many there are."""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeAlias
from urllib.request import getproxies

import httpx

KEEP_IDLE_S = 3.0
"""Servers close idle connections after 5 s or more; a request that is sent at that moment gets no answer."""

Origin: TypeAlias = tuple[str, str, int | None]
"""Scheme, host and port."""


def http_client(
    *,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    verify: ssl.SSLContext | None = None,
    trust_env: bool = True,
) -> httpx.AsyncClient:
    """A client that keeps no cookies, follows no redirects, and opens as many connections as there are requests.

    Args:
        base_url: relative URLs begin with it.
        headers: of every request, besides the User-Agent.
        timeout_s: of each step of a request, in seconds; None: the caller bounds them.
        verify: whom to trust; None: whom the system trusts.
        trust_env: go through the proxies that the environment names.
    """
    context = verify or httpx.create_ssl_context(trust_env=trust_env)
    proxied = trust_env and getproxies()
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"User-Agent": "tradewind", **(headers or {})},
        timeout=timeout_s,
        # A jar would add whatever the last answer told it to.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=trust_env,
        verify=context,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_IDLE_S),
        # httpx knows how to talk to proxies; one that is given a transport does not ask the environment.
        transport=None if proxied else Connections(context),
    )


class Connections(httpx.AsyncBaseTransport):
    """A pool of one connection for every request under way; the last one to become idle is the next one used.

    One pool for all of them looks at each of its connections twice per request, idle ones on the socket, and counts
    them for each: with 64 connections that takes twice as long as all the rest (docs/decisions/0016).

    Args:
        verify: whom to trust.
        keep_idle_s: how long an idle connection is kept, in seconds.
    """

    def __init__(self, verify: ssl.SSLContext, *, keep_idle_s: float = KEEP_IDLE_S) -> None:
        self._verify = verify
        self._keep_idle_s = keep_idle_s
        self._idle: dict[Origin, deque[tuple[float, httpx.AsyncHTTPTransport]]] = {}
        """With the time since when, the oldest first."""
        self._all: set[httpx.AsyncHTTPTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`."""
        origin = (request.url.scheme, request.url.host, request.url.port)
        idle = self._idle.get(origin)
        connection = idle.pop()[1] if idle else self._open()

        async def release() -> None:
            self._idle.setdefault(origin, deque()).append((time.monotonic(), connection))
            await self._close_old()

        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await release()
            raise
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError(f"the body of an asynchronous answer is {response.stream!r}")
        response.stream = _Body(response.stream, release)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in self._all:
            await connection.aclose()
        self._all.clear()
        self._idle.clear()

    def _open(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=self._keep_idle_s)
        connection = httpx.AsyncHTTPTransport(verify=self._verify, trust_env=False, limits=limits)
        self._all.add(connection)
        return connection

    async def _close_old(self) -> None:
        before = time.monotonic() - self._keep_idle_s
        old = []
        for origin, idle in list(self._idle.items()):
            while idle and idle[0][0] < before:
                old.append(idle.popleft()[1])
            if not idle:
                del self._idle[origin]
        for connection in old:
            self._all.discard(connection)
            await connection.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, whose connection is idle once it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, release: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._release: Callable[[], Awaitable[None]] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        release, self._release = self._release, None
        try:
            await self._inner.aclose()
        finally:
            if release is not None:
                await release()
