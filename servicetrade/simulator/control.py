"""/_control: what a test, a demo or an operator does to the simulator itself; the real API has none of it.

    GET accounts         identity and counters of each account, see below
    POST accounts        makes one: name, username, password, user_id?, admin?
    POST sessions/kill   ends {"token"}, all sessions of {"account"}, or with {} all: {"killed": n}
    POST sessions/prune  {"account"?, "keep"? (100)}: ends the oldest until so many are left: {"pruned": n}
    GET faults           {account: [{"id", all fields of the fault, "struck": requests it struck}]}
    POST faults          {"account"?, "faults": [...]}: appends, to all accounts if none is named; with a bad one
                         among them nothing (400 says what is wrong); the answer is that of GET
    DELETE faults        clears, narrowed by ?account= and ?id=, and lets go of who is held: {"cleared": n}
    GET switches         {account: {...}}: shapes of answers and habits of the sender, see switches.py
    POST switches        {"account"?, "switches": {...}}: sets some anew
    GET journal          what became of the messages to the webhooks: ?account= &offset= &limit=
    GET entities         the state that GETs show: ?account= &shape=
    GET day              how far the office day is
    POST day             starts one: seed?, notifications?, duration_s?, odd_bodies?, accounts?

Counters of an account: `login_attempts` (every login for its user that arrived), `logins` (those that made a
session, also if the answer was lost), `logins_refused` (wrong password), `logins_held` (held by a fault right now),
`live_sessions`, `peak_sessions` (most at a time), `pruned_sessions`, `sessions_used` (how many different tokens
resource requests came with), `unauthorized` (401s), `requests` (by method and kind of path), `webhooks`, `entities`.

A fault has the fields that `faults.Fault` explains; `on` is required. The first one that matches a request and has
`times` left applies. For example:

    {"on": "login", "status": 429, "retry_after": 2, "times": 3}    three logins are throttled
    {"on": "login", "hold": true}                                   logins hang until it is cleared
    {"on": "login", "kill_session": true, "times": 1}               a session dead before its first use
    {"on": "login", "reset": true, "processed": true}               a session is made, the answer lost
    {"on": "auth", "status": 500}                                   no word on whether a session lives
    {"on": "resource", "status": 503, "ratio": 0.1}                 every tenth request fails
    {"on": "resource", "method": "POST", "path": "job", "reset": true, "processed": true}
                                                                    a job is made, the answer lost
    {"on": "resource", "path": "job/*", "malformed": true}          200, but no JSON
    {"on": "resource", "delay_s": 3}                                slow answers
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from servicetrade.simulator import render
from servicetrade.simulator.accounts import Accounts, AccountSettings
from servicetrade.simulator.answers import body_object, choose, query_int, refuse
from servicetrade.simulator.day_runner import DayRunner
from servicetrade.simulator.kinds import BY_TYPE, KINDS
from servicetrade.simulator.office_day import DaySettings
from servicetrade.simulator.sender import Sender

JOURNAL_PAGE = 1000


class Control:
    """The control plane but for faults and sessions; it answers plain JSON, errors as 4xx with `{"error": text}`."""

    def __init__(self, accounts: Accounts, days: DayRunner, new_sender: Callable[[], Sender]) -> None:
        self._accounts = accounts
        self._days = days
        self._new_sender = new_sender

    def routes(self) -> list[Route]:
        """All routes of this part."""
        return [
            Route("/_control/accounts", self.accounts, methods=["GET"]),
            Route("/_control/accounts", self.add_account, methods=["POST"]),
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
            return refuse(400, "name, username, password (text), user_id (integer, optional) expected")
        settings = AccountSettings(name=name, username=username, password=password, user_id=user_id, admin=admin)
        try:
            account = self._accounts.add(settings, self._new_sender(), time.time())
        except ValueError as problem:
            return refuse(409, str(problem))
        return JSONResponse(account.as_json(), 201)

    async def switches(self, _request: Request) -> Response:
        """{account: switches}."""
        return JSONResponse({one.name: one.switches.as_json() for one in self._accounts})

    async def set_switches(self, request: Request) -> Response:
        """Body: {"account"?: name, "switches": {...}}; without an account they are set for all."""
        body = await body_object(request)
        wanted = body.get("switches")
        if not isinstance(wanted, dict):
            return refuse(400, "switches: an object is expected")
        chosen = choose(self._accounts, body.get("account"))
        try:
            changed = [one.switches.changed(wanted) for one in chosen]
        except ValueError as problem:
            return refuse(400, str(problem))
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
        account = choose(self._accounts, name)[0]
        offset, limit = query_int(request, "offset", 0) or 0, query_int(request, "limit", JOURNAL_PAGE) or 0
        messages = account.journal.page(offset, limit)
        return JSONResponse({"account": name, "totals": every[name], "offset": offset, "messages": messages})

    async def entities(self, request: Request) -> Response:
        """The state that GETs show now, of one account: {"entities": {type/id: entity}, "deleted", "touched"}.

        The shape is that of the account, or ?shape=; a compound entity is the inner object. `touched` is what
        ever changed since the account was made: what a complete mirror knows. `unreadable`: types without GET.
        """
        account = choose(self._accounts, request.query_params.get("account", ""))[0]
        shape = request.query_params.get("shape", account.switches.shape)
        if shape not in {"flat", "compound"}:
            return refuse(400, "shape: flat or compound expected")
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
        chosen = (
            [choose(self._accounts, name)[0] for name in names] if isinstance(names, list) else list(self._accounts)
        )
        if not chosen:
            return refuse(400, "there is no account")
        defaults = DaySettings()
        whole = {key: body.pop(key, getattr(defaults, key)) for key in ("seed", "notifications", "odd_bodies")}
        duration_s = body.pop("duration_s", defaults.duration_s)
        bad = [key for key, value in whole.items() if not isinstance(value, int) or value < 0] + list(body)
        if bad or not isinstance(duration_s, int | float) or duration_s <= 0:
            return refuse(400, f"cannot use {', '.join(bad) or 'duration_s'}")
        try:
            self._days.start(DaySettings(**whole, duration_s=duration_s), chosen)
        except ValueError as problem:
            return refuse(409, str(problem))
        return JSONResponse(self._days.progress(), 202)
