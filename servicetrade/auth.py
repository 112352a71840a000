"""Speaks to ServiceTrade's /auth, and puts the shared session on every request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeAlias

import httpx

from runtime.toml_reader import Secret
from schemas.encoding import encode
from schemas.errors import ApiUnreachable, LoginRefused, LoginUnavailable
from servicetrade.answers import messages_of, read_body, retry_after_s, token_of
from servicetrade.session import Session, SharedSession

Observe: TypeAlias = Callable[[str, str, str, int | None], None]
"""Told of every exchange with ServiceTrade: account, HTTP method, kind (an entity type, or "auth"), status or None
if there was no answer."""

KIND = "tradewind_kind"
"""Where a request's extensions keep the kind that `Observe` is told."""

JSON_HEADERS = {"Content-Type": "application/json"}


def retry_after_of(response: httpx.Response) -> float | None:
    """Seconds that the answer asks to wait, or None."""
    return retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))


def _cookie(token: Secret) -> str:
    return f"PHPSESSID={token.reveal()}"


class CookieCalls:
    """`servicetrade.session.AuthCalls` over HTTP, with user name and password.

    Statuses: a dead session is 404 on GET /auth (and 401 elsewhere), wrong credentials are 403 on POST /auth
    (measured by integrators on the live API); the status of a throttled login is not published.
    """

    def __init__(
        self,
        account: str,
        http: httpx.AsyncClient,
        *,
        username: str,
        password: Secret,
        answer_s: float,
        observe: Observe,
    ) -> None:
        self._account = account
        self._http = http
        self._username = username
        self._password = password
        self._answer_s = answer_s
        self._observe = observe

    async def is_alive(self, token: Secret) -> bool:
        """Ask GET /auth.

        Raises:
            LoginUnavailable: neither yes nor no; the session may well live.
        """
        response = await self._send("GET", token)
        if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED):
            return False
        if response.is_success:
            return True
        raise self._unavailable("asking for the session", response)

    async def login(self) -> Secret:
        """POST /auth.

        Raises:
            LoginRefused: 403.
            LoginUnavailable: any other answer without a session, or none.
        """
        credentials = encode({"username": self._username, "password": self._password.reveal()})
        response = await self._send("POST", None, credentials)
        if response.status_code == HTTPStatus.FORBIDDEN:
            texts = "; ".join(messages_of(response.content))
            raise LoginRefused(f"login refused: {texts}" if texts else "login refused")
        if not response.is_success:
            raise self._unavailable("login", response)
        try:
            data = read_body(response.content).get("data")
        except ValueError as error:
            raise LoginUnavailable("login: the answer is not JSON") from error
        token = token_of(data, response.headers.get_list("Set-Cookie"))
        if token is None:
            raise LoginUnavailable("login: the answer holds no session")
        return Secret(token)

    async def logout(self, token: Secret) -> None:
        """DELETE /auth; the success status is not published, and a session that is gone already is gone.

        Raises:
            ApiUnreachable: no answer, or another status: the session may live on.
        """
        try:
            response = await self._send("DELETE", token)
        except LoginUnavailable as error:
            raise ApiUnreachable(str(error)) from error
        if not response.is_success and response.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED):
            raise ApiUnreachable(f"log out: HTTP {response.status_code}")

    async def _send(self, method: str, token: Secret | None, content: bytes | None = None) -> httpx.Response:
        headers = dict(JSON_HEADERS) if content is not None else {}
        if token is not None:
            headers["Cookie"] = _cookie(token)
        status: int | None = None
        try:
            # httpx's own time-outs are per read and write; the lease needs a bound on the whole.
            async with asyncio.timeout(self._answer_s):
                response = await self._http.request(method, "/auth", content=content, headers=headers, auth=None)
            status = response.status_code
        except (httpx.RequestError, TimeoutError) as error:
            raise LoginUnavailable(f"{method} /auth: no answer ({type(error).__name__})") from error
        finally:
            self._observe(self._account, method, "auth", status)
        return response

    def _unavailable(self, what: str, response: httpx.Response) -> LoginUnavailable:
        texts = "; ".join((f"HTTP {response.status_code}", *messages_of(response.content)))
        return LoginUnavailable(f"{what}: {texts}", retry_after_s=retry_after_of(response))


class CookieAuth(httpx.Auth):
    """Sends the shared session along; after a 401 replaces it and sends once more. A second 401 surfaces."""

    # Read before the flow goes on: a 401 that waits for a login must not keep a connection from that login.
    requires_response_body = True

    def __init__(self, account: str, session: SharedSession, observe: Observe) -> None:
        self._account = account
        self._session = session
        self._observe = observe

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See the class.

        Raises:
            LoginRefused: the credentials were refused.
            LoginUnavailable: there is no session for now.
        """
        session = await self._session.current()
        response = yield self._with(request, session)
        failed_at = time.monotonic()
        self._note(request, response)
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            return
        replacement = await self._session.replace(session, failed_at)
        if replacement.generation != session.generation:
            response = yield self._with(request, replacement)
            self._note(request, response)

    def _with(self, request: httpx.Request, session: Session) -> httpx.Request:
        request.headers["Cookie"] = _cookie(session.token)
        return request

    def _note(self, request: httpx.Request, response: httpx.Response) -> None:
        kind = request.extensions.get(KIND, "other")
        self._observe(self._account, request.method, str(kind), response.status_code)
