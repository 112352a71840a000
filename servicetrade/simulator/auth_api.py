"""/api/auth: log in, ask whether a session lives, log out.

Statuses are those of the design notes' section 2: 200, 403 for bad credentials, 400 for a missing field,
404 (not 401) for a dead session; the 204 of a log-out is an assumption.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from servicetrade.simulator.accounts import Account, Accounts
from servicetrade.simulator.answers import COOKIE, body_object, data, error, token_of
from servicetrade.simulator.striking import answered

TOKEN_BYTES = 13  # 26 characters, as an old integration test shows


class AuthApi:
    """The three verbs of /auth."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def handle(self, request: Request) -> Response:
        """Dispatch by method."""
        if request.method == "POST":
            return await self._login(request)
        token = token_of(request)
        account = self._accounts.of_token(token)
        if account is None:
            return _dead()
        account.counts.requests[f"{request.method} auth"] += 1

        async def work() -> Response:
            if not account.sessions.is_live(token):
                return _dead()
            if request.method == "DELETE":
                account.sessions.end(token)
                return Response(status_code=204)
            return data(_session(account, token))

        return await answered(request, account, "auth", token, work)

    async def _login(self, request: Request) -> Response:
        body = await body_object(request)
        username, password = body.get("username"), body.get("password")
        account = self._accounts.of_user(username) if isinstance(username, str) else None
        if account is None:
            return _refused() if username and password else _incomplete()
        account.counts.login_attempts += 1
        account.counts.requests["POST auth"] += 1
        token = secrets.token_hex(TOKEN_BYTES)

        async def work() -> Response:
            return _log_in(account, password, token)

        return await answered(request, account, "login", token, work)


def _log_in(account: Account, password: object, token: str) -> Response:
    """Open the session `token` if the password is right."""
    if not password:
        return _incomplete()
    if password != account.settings.password:
        account.counts.logins_refused += 1
        return _refused()
    account.counts.logins += 1
    account.counts.pruned += len(account.sessions.open(token, time.time()))
    response = data(_session(account, token))
    # Several Set-Cookie headers, the one that matters neither first nor last. The live one is `secure`
    # as well; over plain http that would hide from a cookie jar what production's https shows it.
    response.headers.append("set-cookie", "AWSALB=x7Yt0; path=/")
    response.headers.append("set-cookie", f"{COOKIE}={token}; path=/; HttpOnly")
    response.headers.append("set-cookie", "AWSALBCORS=x7Yt0; path=/")
    return response


def _incomplete() -> Response:
    return error(400, "username and password are required")


def _refused() -> Response:
    return error(403, "Invalid credentials provided", data={"authenticated": False, "authToken": None})


def _dead() -> Response:
    dead = {"authenticated": False, "authToken": None}
    return error(404, "No active session found for given auth token", data=dead)


def _session(account: Account, token: str) -> dict[str, Any]:
    user = account.world.remembered("user", account.user_id) or {}
    company = account.world.remembered("company", user.get("company", 0)) or {}
    return {
        "authenticated": True,
        "authToken": token,
        "user": {
            "id": account.user_id,
            "name": user.get("name"),
            "company": {"id": company.get("id"), "name": company.get("name")},
        },
    }
