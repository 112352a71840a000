"""/_control: what a test, a demo or an operator does to the simulator itself; the real API has none of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from servicetrade.simulator import render
from servicetrade.simulator.accounts import Account, Accounts, AccountSettings
from servicetrade.simulator.answers import body_object, query_int
from servicetrade.simulator.day_runner import DayRunner
from servicetrade.simulator.kinds import BY_TYPE, KINDS
from servicetrade.simulator.office_day import DaySettings
from servicetrade.simulator.sender import Sender

JOURNAL_PAGE = 1000


class Control:
    """The control plane; it answers plain JSON, errors as 4xx with `{"error": text}`."""

    def __init__(self, accounts: Accounts, days: DayRunner, new_sender: Callable[[], Sender]) -> None:
        self._accounts = accounts
        self._days = days
        self._new_sender = new_sender

    def routes(self) -> list[Route]:
        """All routes of the control plane."""
        return [
            Route("/_control/accounts", self.accounts, methods=["GET"]),
            Route("/_control/accounts", self.add_account, methods=["POST"]),
            Route("/_control/sessions/kill", self.kill_sessions, methods=["POST"]),
            Route("/_control/switches", self.switches, methods=["GET"]),
            Route("/_control/switches", self.set_switches, methods=["POST"]),
            Route("/_control/journal", self.journal, methods=["GET"]),
            Route("/_control/entities", self.entities, methods=["GET"]),
            Route("/_control/day", self.day, methods=["GET"]),
            Route("/_control/day", self.start_day, methods=["POST"]),
        ]

    async def accounts(self, _request: Request) -> Response:
        """{"accounts": [...]} with counters."""
        return JSONResponse({"accounts": [account.as_json() for account in self._accounts]})

    async def add_account(self, request: Request) -> Response:
        """Body: name, username, password, user_id?, admin?; 409 if the name or username is taken."""
        body = await body_object(request)
        texts = [body.get(key) for key in ("name", "username", "password")]
        user_id, admin = body.get("user_id"), body.get("admin", True)
        name, username, password = (text if isinstance(text, str) else "" for text in texts)
        if not (name and username and password and isinstance(admin, bool) and isinstance(user_id, int | None)):
            return _refuse(400, "name, username, password (text), user_id (integer, optional) expected")
        settings = AccountSettings(name=name, username=username, password=password, user_id=user_id, admin=admin)
        try:
            account = self._accounts.add(settings, self._new_sender(), time.time())
        except ValueError as problem:
            return _refuse(409, str(problem))
        return JSONResponse(account.as_json(), 201)

    async def kill_sessions(self, request: Request) -> Response:
        """Body: {"token"} for one, {"account"} for all of one account, {} for all; {"killed": n}."""
        body = await body_object(request)
        if "token" in body:
            owner = self._accounts.of_token(str(body["token"]))
            killed = int(owner is not None and owner.sessions.end(str(body["token"])))
        else:
            killed = sum(one.sessions.end_all() for one in self._chosen(body.get("account")))
        return JSONResponse({"killed": killed})

    async def switches(self, _request: Request) -> Response:
        """{account: switches}."""
        return JSONResponse({one.name: one.switches.as_json() for one in self._accounts})

    async def set_switches(self, request: Request) -> Response:
        """Body: {"account"?: name, "switches": {...}}; without an account they are set for all."""
        body = await body_object(request)
        wanted = body.get("switches")
        if not isinstance(wanted, dict):
            return _refuse(400, "switches: an object is expected")
        chosen = self._chosen(body.get("account"))
        try:
            changed = [one.switches.changed(wanted) for one in chosen]
        except ValueError as problem:
            return _refuse(400, str(problem))
        for account, switches in zip(chosen, changed, strict=True):
            account.switches = switches
        return await self.switches(request)

    async def journal(self, request: Request) -> Response:
        """Totals of all accounts; with ?account= its messages too, paged by offset and limit."""
        every = {one.name: one.journal.totals() for one in self._accounts}
        name = request.query_params.get("account")
        if name is None:
            names = next(iter(every.values()), {})
            sums = {key: sum(totals[key] for totals in every.values()) for key in names}
            return JSONResponse({"totals": sums, "accounts": every})
        account = self._chosen(name)[0]
        offset, limit = query_int(request, "offset", 0) or 0, query_int(request, "limit", JOURNAL_PAGE) or 0
        messages = account.journal.page(offset, limit)
        return JSONResponse({"account": name, "totals": every[name], "offset": offset, "messages": messages})

    async def entities(self, request: Request) -> Response:
        """The state that GETs show now, of one account: {"entities": {type/id: entity}, "deleted", "touched"}.

        The shape is that of the account, or ?shape=; a compound entity is the inner object. `touched` is what
        ever changed since the account was made: what a complete mirror knows. `unreadable`: types without GET.
        """
        account = self._chosen(request.query_params.get("account", ""))[0]
        shape = request.query_params.get("shape", account.switches.shape)
        if shape not in {"flat", "compound"}:
            return _refuse(400, "shape: flat or compound expected")
        found: dict[str, Any] = {
            f"{type_}/{id_}": render.inner(account.world, entity, "flat" if shape == "flat" else "compound")
            for type_, entities in account.world.entities.items()
            for id_, entity in entities.items()
        }
        return JSONResponse(
            {
                "account": account.name,
                "shape": shape,
                "entities": found,
                "deleted": sorted(f"{type_}/{id_}" for type_, id_ in account.world.deleted),
                "touched": sorted(f"{type_}/{id_}" for type_, id_ in account.world.touched if BY_TYPE[type_].notifies),
                "unreadable": [kind.type for kind in KINDS if not kind.readable],
            }
        )

    async def day(self, _request: Request) -> Response:
        """Progress of the current or last day."""
        return JSONResponse(self._days.progress())

    async def start_day(self, request: Request) -> Response:
        """Body: seed?, notifications?, duration_s?, odd_bodies?, accounts?: [names]; 202, 409 if one runs."""
        body = await body_object(request)
        names = body.pop("accounts", None)
        chosen = [self._chosen(name)[0] for name in names] if isinstance(names, list) else list(self._accounts)
        if not chosen:
            return _refuse(400, "there is no account")
        defaults = DaySettings()
        whole = {key: body.pop(key, getattr(defaults, key)) for key in ("seed", "notifications", "odd_bodies")}
        duration_s = body.pop("duration_s", defaults.duration_s)
        bad = [key for key, value in whole.items() if not isinstance(value, int) or value < 0] + list(body)
        if bad or not isinstance(duration_s, int | float) or duration_s <= 0:
            return _refuse(400, f"cannot use {', '.join(bad) or 'duration_s'}")
        try:
            self._days.start(DaySettings(**whole, duration_s=duration_s), chosen)
        except ValueError as problem:
            return _refuse(409, str(problem))
        return JSONResponse(self._days.progress(), 202)

    def _chosen(self, name: str | None) -> list[Account]:
        """The named account, or all for None; gives up with 404 for an unknown name."""
        if name is None:
            return list(self._accounts)
        account = self._accounts.named(name)
        if account is None:
            raise HTTPException(404)
        return [account]


def _refuse(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
