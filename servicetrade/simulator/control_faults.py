"""/_control/faults and /_control/sessions: what is done to the answers and the sessions of the accounts."""

from __future__ import annotations

import itertools

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from servicetrade.simulator import faults
from servicetrade.simulator.accounts import Accounts
from servicetrade.simulator.answers import body_object, choose, query_int, refuse
from servicetrade.simulator.faults import Fault
from servicetrade.simulator.sessions import SOFT_LIMIT


class FaultControl:
    """The part of the control plane that harms; see control.py for the whole."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        # Of the whole server, so that a number says which fault is meant without naming the account.
        self._ids = itertools.count(1)

    def routes(self) -> list[Route]:
        """All routes of this part."""
        return [
            Route("/_control/faults", self.faults, methods=["GET"]),
            Route("/_control/faults", self.add_faults, methods=["POST"]),
            Route("/_control/faults", self.clear_faults, methods=["DELETE"]),
            Route("/_control/sessions/kill", self.kill_sessions, methods=["POST"]),
            Route("/_control/sessions/prune", self.prune_sessions, methods=["POST"]),
        ]

    async def faults(self, _request: Request) -> Response:
        """{account: [{"id", all fields of the fault, "struck"}]}, of all accounts, oldest first."""
        return JSONResponse({one.name: one.faults.as_json() for one in self._accounts})

    async def add_faults(self, request: Request) -> Response:
        """Body: {"account"?: name, "faults": [...]}; without an account each of them gets every fault."""
        body = await body_object(request)
        wanted = body.get("faults")
        # A misspelt account would strike all of them.
        if not isinstance(wanted, list) or body.keys() - {"account", "faults"}:
            return refuse(400, "faults (a list) and account (optional) expected, and nothing else")
        owners = choose(self._accounts, body.get("account"))
        try:
            placed = [_read(number, value) for number, value in enumerate(wanted)]
        except ValueError as problem:
            return refuse(400, str(problem))
        for owner in owners:
            for fault in placed:
                owner.faults.add(next(self._ids), fault)
        return await self.faults(request)

    async def clear_faults(self, request: Request) -> Response:
        """?account= and ?id= narrow it down; releases who is held. {"cleared": n}."""
        id_ = query_int(request, "id")
        cleared = 0
        for owner in choose(self._accounts, request.query_params.get("account")):
            cleared += owner.faults.clear(id_)
            owner.waits.look_again()
        return JSONResponse({"cleared": cleared})

    async def kill_sessions(self, request: Request) -> Response:
        """Body: {"token"} for one, {"account"} for all of one account, {} for all; {"killed": n}."""
        body = await body_object(request)
        if "token" in body:
            owner = self._accounts.of_token(str(body["token"]))
            killed = int(owner is not None and owner.sessions.end(str(body["token"])))
        else:
            killed = sum(one.sessions.end_all() for one in choose(self._accounts, body.get("account")))
        return JSONResponse({"killed": killed})

    async def prune_sessions(self, request: Request) -> Response:
        """Body: {"account"?, "keep"? (100)}; ends the oldest of each account until so many are left. {"pruned": n}."""
        body = await body_object(request)
        keep = body.get("keep", SOFT_LIMIT)
        if type(keep) is not int or keep < 0 or body.keys() - {"account", "keep"}:
            return refuse(400, "keep (a count from 0, optional) and account (optional) expected, and nothing else")
        pruned = 0
        for owner in choose(self._accounts, body.get("account")):
            ended = len(owner.sessions.prune(keep))
            owner.counts.pruned += ended
            pruned += ended
        return JSONResponse({"pruned": pruned})


def _read(number: int, value: object) -> Fault:
    try:
        return faults.read(value)
    except ValueError as problem:
        raise ValueError(f"faults[{number}]: {problem}") from problem
