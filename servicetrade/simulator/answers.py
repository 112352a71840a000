"""What all handlers share: documented errors, the control plane's refusals, reading a request."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from servicetrade.simulator.accounts import Account, Accounts

COOKIE = "PHPSESSID"


def data(value: object, status: int = 200) -> JSONResponse:
    """A successful answer; ServiceTrade says 200 to a POST that creates, too."""
    return JSONResponse({"data": value}, status)


def error(status: int, *texts: str, **rest: object) -> JSONResponse:
    """An error in ServiceTrade's envelope: `messages.error` is an array of strings."""
    return JSONResponse({"messages": {"error": list(texts)}, "data": None, **rest}, status)


def not_found() -> JSONResponse:
    """404 as the official SDK's own test has it."""
    return error(404, "Not found")


def unauthorized() -> Response:
    """401 on a resource: the body is empty, as measured on the live API."""
    return Response(status_code=401)


def refuse(status: int, text: str) -> Response:
    """An error of the control plane."""
    return JSONResponse({"error": text}, status)


async def on_http_exception(_request: Request, problem: Exception) -> Response:
    """Renders the exceptions that handlers raise to give up, in the same envelope."""
    status, text = (problem.status_code, problem.detail) if isinstance(problem, HTTPException) else (500, "Error")
    return not_found() if status == 404 else error(status, text)  # noqa: PLR2004 - the status itself


async def body_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body (empty if there is no body); gives up with 400 on anything else."""
    raw = await request.body()
    try:
        value = json.loads(raw) if raw else {}
    except ValueError as problem:
        raise HTTPException(400, "The request body is not JSON") from problem
    if not isinstance(value, dict):
        raise HTTPException(400, "The request body is not a JSON object")
    return value


def query_int(request: Request, name: str, default: int | None = None) -> int | None:
    """A whole number from the query; gives up with 400 if it is none."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise HTTPException(400, f"{name} must be a number")
    return int(text)


def choose(accounts: Accounts, name: object) -> list[Account]:
    """The named account, or all for None; gives up with 404 for an unknown name."""
    if name is None:
        return list(accounts)
    account = accounts.named(name) if isinstance(name, str) else None
    if account is None:
        raise HTTPException(404)
    return [account]


def token_of(request: Request) -> str:
    """The session that the request carries, or ''."""
    return request.cookies.get(COOKIE, "").strip()
