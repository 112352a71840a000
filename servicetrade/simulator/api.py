"""The routes under /api, each behind the same gate: count, meet the faults, demand a live session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from servicetrade.simulator import entity_api, webhook_api
from servicetrade.simulator.accounts import Account, Accounts
from servicetrade.simulator.answers import not_found, token_of, unauthorized
from servicetrade.simulator.auth_api import AuthApi
from servicetrade.simulator.striking import answered

Endpoint = Callable[[Request, Account], Awaitable[Response]]
Handler = Callable[[Request], Awaitable[Response]]

_COLLECTION = ["GET", "POST"]
_SINGLE = ["GET", "PUT", "DELETE"]


def routes(accounts: Accounts) -> list[Route]:
    """All routes of the API; /auth has no gate, it is the gate."""

    def gated(label: str, endpoint: Endpoint) -> Handler:
        return _gated(accounts, label, endpoint)

    everything = ["GET", "POST", "PUT", "DELETE"]
    return [
        Route("/api/auth", AuthApi(accounts).handle, methods=["GET", "POST", "DELETE"]),
        Route("/api/webhook", gated("webhook", webhook_api.collection), methods=_COLLECTION),
        Route("/api/webhook/{id:int}", gated("webhook/{id}", webhook_api.single), methods=_SINGLE),
        Route("/api/quote/{id:int}/item", gated("quote/{id}/item", entity_api.quote_items), methods=["POST"]),
        Route("/api/{resource}", gated("{resource}", entity_api.collection), methods=_COLLECTION),
        Route("/api/{resource}/{id:int}", gated("{resource}/{id}", entity_api.single), methods=_SINGLE),
        Route("/api/{rest:path}", gated("(unknown)", _unknown), methods=everything),
    ]


def _gated(accounts: Accounts, label: str, endpoint: Endpoint) -> Handler:
    async def handle(request: Request) -> Response:
        token = token_of(request)
        account = accounts.of_token(token)
        if account is None:
            return unauthorized()
        path = label.replace("{resource}", str(request.path_params.get("resource", "")))
        account.counts.requests[f"{request.method} {path}"] += 1
        account.sessions.note_use(token)

        async def work() -> Response:
            if not account.sessions.is_live(token):
                account.counts.unauthorized += 1
                return unauthorized()
            return await endpoint(request, account)

        return await answered(request, account, "resource", token, work)

    return handle


async def _unknown(_request: Request, _account: Account) -> Response:
    return not_found()
