"""Speaks to ServiceTrade's /auth, and puts the shared session on every request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from http import HTTPStatus

import httpx

from runtime import metrics
from runtime.settings import AccountSettings, LoginSettings
from runtime.toml_reader import Secret
from schemas.encoding import encode
from schemas.errors import ApiUnreachable, LoginRefused, LoginThrottled, LoginUnavailable, ServiceTradeError
from servicetrade.answers import messages_of, read_body, retry_after_s, says_authenticated, token_of
from servicetrade.governor import Governor
from servicetrade.session import SessionSource
from servicetrade.stored_session import Session

KIND = "tradewind_kind"
"""Where a request's extensions keep the kind that it is counted as: an entity type."""

TIMER = "tradewind_timer"
"""Where they keep the asyncio.Timeout around the call: it runs during an exchange, not while a session is obtained."""

JSON_HEADERS = {"Content-Type": "application/json"}

_OUTCOMES = {LoginRefused: "refused", LoginThrottled: "throttled"}


def retry_after_of(response: httpx.Response) -> float | None:
    """Seconds that the answer asks to wait, or None."""
    return retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))


def count(account: str, kind: str, status: int | None) -> None:
    """Count one exchange with ServiceTrade; a status of None: there was no answer."""
    metrics.API_REQUESTS.labels(account, kind, str(status or 0)).inc()


def _cookie(token: Secret) -> str:
    return f"PHPSESSID={token.reveal()}"


class CookieCalls:
    """`servicetrade.login.AuthCalls` over HTTP, with user name and password.

    Statuses: a dead session is 404 on GET /auth (and 401 elsewhere), wrong credentials are 403 on POST /auth
    (measured by integrators on the live API); the status of a throttled login is not published.
    """

    def __init__(self, name: str, account: AccountSettings, http: httpx.AsyncClient, settings: LoginSettings) -> None:
        self._name = name
        self._account = account
        self._http = http
        self._settings = settings
        metrics.begin(metrics.LOGINS, name, values=metrics.LOGIN_OUTCOMES)

    async def is_alive(self, token: Secret) -> bool:
        """Ask GET /auth.

        Raises:
            LoginUnavailable: neither yes nor no; the session may well live.
        """
        response = await self._send("GET", token)
        if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.UNAUTHORIZED):
            return False
        authenticated = says_authenticated(response.content) if response.is_success else None
        if authenticated is None:
            raise self._unavailable("asking for the session", response)
        return authenticated

    async def login(self) -> Secret:
        """POST /auth.

        Raises:
            LoginRefused: 403, unless that is one of the configured throttling statuses.
            LoginThrottled: one of these.
            LoginUnavailable: any other answer without a session, or none.
        """
        try:
            token = await self._login()
        except ServiceTradeError as error:
            metrics.LOGINS.labels(self._name, _OUTCOMES.get(type(error), "failed")).inc()
            raise
        metrics.LOGINS.labels(self._name, "made").inc()
        return token

    async def _login(self) -> Secret:
        credentials = {"username": self._account.username, "password": self._account.password.reveal()}
        response = await self._send("POST", None, encode(credentials))
        if response.status_code in self._settings.throttled_statuses:
            raise self._unavailable("login throttled", response, LoginThrottled)
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
            async with asyncio.timeout(self._settings.answer_timeout_s):
                response = await self._http.request(method, "/auth", content=content, headers=headers, auth=None)
            status = response.status_code
        except (httpx.RequestError, TimeoutError) as error:
            # Not "from error": that holds the request, and the request the password or the session.
            raise LoginUnavailable(f"{method} /auth: no answer ({type(error).__name__})") from None
        finally:
            count(self._name, "auth", status)
        return response

    def _unavailable(
        self, what: str, response: httpx.Response, kind: type[LoginUnavailable] = LoginUnavailable
    ) -> LoginUnavailable:
        texts = "; ".join((f"HTTP {response.status_code}", *messages_of(response.content)))
        return kind(f"{what}: {texts}", retry_after_s=retry_after_of(response))


class CookieAuth(httpx.Auth):
    """Sends a session along; after a 401 replaces it and sends once more. A second 401 surfaces.

    Only where the replacement was merely found, and nobody had yet asked whether it lives, is it replaced as well.

    Args:
        account: the account's name.
        sessions: where sessions come from. Waiting for one takes none of the governor's slots.
        governor: of the account; it is told what each exchange brings.
        timeout_s: for one exchange as a whole; httpx's own time-outs are per read and write.
    """

    def __init__(self, account: str, sessions: SessionSource, governor: Governor, timeout_s: float) -> None:
        self._account = account
        self._sessions = sessions
        self._governor = governor
        self._timeout_s = timeout_s

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See the class.

        Raises:
            LoginRefused: the credentials were refused.
            LoginUnavailable: there is no session for now.
            StoreError: the store of sessions failed.
            ApiError: 429, and nothing was sent: ServiceTrade asked for a long pause.
            TimeoutError: from the request's timer.
        """
        session, may_replace = await self._sessions.current(), True
        while True:
            async with self._governor.turn():
                response = yield self._begin(request, session)
                await self._end(request, response)
            if response.status_code != HTTPStatus.UNAUTHORIZED or not may_replace:
                return
            failed, failed_at = session, time.monotonic()
            session = await self._sessions.replace(failed, failed_at)
            if session.token == failed.token:
                return
            may_replace = session.found and not failed.found

    def _begin(self, request: httpx.Request, session: Session) -> httpx.Request:
        request.headers["Cookie"] = _cookie(session.token)
        request.extensions[TIMER].reschedule(asyncio.get_running_loop().time() + self._timeout_s)
        return request

    async def _end(self, request: httpx.Request, response: httpx.Response) -> None:
        # To the last byte: a 401 that waits for a login must not keep a connection from that login.
        await response.aread()
        request.extensions[TIMER].reschedule(None)
        count(self._account, request.extensions[KIND], response.status_code)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.is_server_error:
            self._governor.pause(retry_after_of(response))
        else:
            self._governor.succeeded()
