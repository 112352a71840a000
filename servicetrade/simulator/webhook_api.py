"""/api/webhook: the subscriptions of the session's account."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from servicetrade.simulator import webhooks
from servicetrade.simulator.accounts import Account
from servicetrade.simulator.answers import body_object, data, error, not_found


async def collection(request: Request, account: Account) -> Response:
    """GET lists, POST creates (200). 403 without the permission admin.account."""
    if not account.settings.admin:
        return _forbidden()
    now = time.time()
    if request.method != "POST":
        return data({"webhooks": [hook.as_json(now) for hook in account.subscriptions.values()]})
    try:
        hook = webhooks.create(next(account.hook_ids), await body_object(request), now)
    except ValueError as problem:
        return error(400, str(problem))
    account.subscriptions[hook.id] = hook
    return data(hook.as_json(now))


async def single(request: Request, account: Account) -> Response:
    """GET, PUT and DELETE (204) of one subscription; 404 once it is gone."""
    if not account.settings.admin:
        return _forbidden()
    hook = account.subscriptions.get(request.path_params["id"])
    if hook is None:
        return not_found()
    if request.method == "DELETE":
        del account.subscriptions[hook.id]
        return Response(status_code=204)
    if request.method == "PUT":
        try:
            hook = webhooks.update(hook, await body_object(request))
        except ValueError as problem:
            return error(400, str(problem))
        account.subscriptions[hook.id] = hook
    return data(hook.as_json(time.time()))


def _forbidden() -> Response:
    return error(403, "Permission admin.account is required")
