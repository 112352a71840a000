"""Answers a request of an account as its faults will have it: the only place where a fault takes effect."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from servicetrade.simulator.accounts import Account
from servicetrade.simulator.answers import error, on_http_exception
from servicetrade.simulator.fault_list import Placed
from servicetrade.simulator.faults import Fault, On
from servicetrade.simulator.reset import ResetConnection

Work = Callable[[], Awaitable[Response]]

_ERRORS_FROM = 400
_MALFORMED = '{"data": {"id": 1, "name": "half an ans'


async def answered(request: Request, account: Account, on: On, session: str, work: Work) -> Response:
    """The answer to the request: what `work` makes of it, unless one of the account's faults strikes.

    Args:
        request: whose method and path decide which fault is meant.
        account: whose faults are looked through.
        on: what kind of request it is.
        session: the token that the request carries or, at a login, the one that `work` would open.
        work: does what was asked for and returns the usual answer; called at most once.
    """
    # Before any wait: a client that gives up meanwhile has sent its request all the same.
    with contextlib.suppress(ClientDisconnect):
        await request.body()
    path = request.scope["path"].removeprefix("/api/")
    struck = account.faults.strike(on, request.method, path, account.rng.random)
    if struck is None:
        return await work()
    fault = struck.fault

    def end_session() -> None:
        if fault.kill_session:
            account.sessions.end(session)

    async def worked() -> Response:
        try:
            answer = await work()
        except HTTPException as problem:  # an answer too, and one that may have to be replaced
            answer = await on_http_exception(request, problem)
        end_session()  # the one that a login just made
        return answer

    end_session()  # the one that any other request carries
    own = await worked() if fault.processed else None
    await _wait(account, struck)
    return _replacement(fault) or own or await worked()


async def _wait(account: Account, struck: Placed) -> None:
    fault = struck.fault
    if fault.hold:
        account.counts.held[fault.on] += 1
        try:
            await account.waits.until(lambda: struck.id not in account.faults)
        finally:
            account.counts.held[fault.on] -= 1
    if fault.delay_s:
        await account.waits.seconds(fault.delay_s)


def _replacement(fault: Fault) -> Response | None:
    """What is sent in place of the request's own answer, if anything."""
    if fault.reset:
        return ResetConnection()
    if fault.malformed:
        return Response(_MALFORMED, media_type="application/json")
    return None if fault.status is None else _with_status(fault, fault.status)


def _with_status(fault: Fault, status: int) -> Response:
    answer: Response
    if fault.body is None and status >= _ERRORS_FROM:
        answer = error(status, f"Failing on purpose with {status}")
    else:
        answer = Response(fault.body, status, media_type="application/json")
    answer.headers.update(fault.headers)
    if fault.retry_after is not None:
        answer.headers["retry-after"] = str(fault.retry_after)
    return answer
