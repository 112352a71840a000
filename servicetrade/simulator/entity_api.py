"""/api/{resource} and /api/{resource}/{id}: read and write entities; every write also makes webhooks."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from servicetrade.simulator import render
from servicetrade.simulator.accounts import Account
from servicetrade.simulator.answers import body_object, data, not_found, query_int
from servicetrade.simulator.kinds import BY_PATH, BY_TYPE, REFERENCE_LISTS, REFERENCES, Kind
from servicetrade.simulator.publisher import publish
from servicetrade.simulator.world import Action, Entity, Op


async def collection(request: Request, account: Account) -> Response:
    """GET a page of a list; POST creates one and answers 200."""
    kind = BY_PATH.get(request.path_params["resource"])
    if kind is None:
        return not_found()
    if request.method != "POST":
        return _page(request, account, kind)
    fields = _fields(await body_object(request))
    if kind.type == "job" and "location" not in fields:
        return _invalid("locationId", "Location is required")
    return _write(account, kind, "created", account.world.new_id(), fields)


async def quote_items(request: Request, account: Account) -> Response:
    """POST /quote/{id}/item, the only published path of quote items."""
    quote = account.world.find("quote", request.path_params["id"])
    if quote is None:
        return not_found()
    fields = {**_fields(await body_object(request)), "quote": quote["id"]}
    return _write(account, BY_TYPE["quoteitem"], "created", account.world.new_id(), fields)


async def single(request: Request, account: Account) -> Response:
    """GET, PUT and DELETE (204) of one entity; 404 for what is unknown or deleted."""
    kind = BY_PATH.get(request.path_params["resource"])
    if kind is None or not kind.readable:
        return not_found()
    entity = account.world.find(kind.type, request.path_params["id"])
    if entity is None:
        return not_found()
    if request.method == "PUT":
        return _write(account, kind, "updated", entity["id"], _fields(await body_object(request)))
    if request.method == "DELETE":
        return _write(account, kind, "deleted", entity["id"], {})
    return data(render.one(account.world, kind, entity, account.switches.shape))


def _write(account: Account, kind: Kind, action: Action, id_: int, fields: dict[str, Any]) -> Response:
    now = time.time()
    op = Op(action=action, type=kind.type, id=id_, user_id=account.user_id, fields=fields)
    events = account.world.write(op, now)
    # One's own writes come back as notifications, with the API user's id.
    if events and kind.notifies:
        publish(account, events, now)
    entity = account.world.find(kind.type, id_)
    if entity is None:
        return Response(status_code=204) if action == "deleted" else not_found()
    return data(render.one(account.world, kind, entity, account.switches.shape))


def _fields(body: dict[str, Any]) -> dict[str, Any]:
    """What a body sets: `locationId`, `location: 5` and `location: {"id": 5}` all mean the same."""
    fields: dict[str, Any] = {}
    for key, value in body.items():
        name = key.removesuffix("Ids") + "s" if key.endswith("Ids") else key.removesuffix("Id")
        if name in REFERENCES:
            fields[name] = _bare(value)
        elif name in REFERENCE_LISTS and isinstance(value, list):
            fields[name] = [_bare(one) for one in value]
        else:
            fields[key] = value
    return fields


def _bare(value: object) -> object:
    return value.get("id") if isinstance(value, dict) else value


def _invalid(field: str, text: str) -> Response:
    return JSONResponse({"messages": {"error": [text], "validation": {field: text}}, "data": None}, 400)


def _page(request: Request, account: Account, kind: Kind) -> Response:
    page = query_int(request, "page", 1) or 1
    limit = min(query_int(request, "limit", kind.default_limit) or kind.default_limit, kind.max_limit)
    found = [entity for entity in account.world.all_of(kind.type) if _matches(request, kind, entity)]
    total_pages = max(1, -(-len(found) // limit))
    shown = found[(page - 1) * limit : page * limit]
    listed = render.page(account.world, kind, shown, account.switches.shape)
    return data({"page": page, "totalPages": total_pages, **listed})


def _matches(request: Request, kind: Kind, entity: Entity) -> bool:
    if kind.incremental:
        for field in ("updated", "created"):
            after, before = query_int(request, f"{field}After"), query_int(request, f"{field}Before")
            # Both bounds are inclusive ("on or after").
            if (after is not None and entity[field] < after) or (before is not None and entity[field] > before):
                return False
    if kind.type != "job":
        return True
    number = query_int(request, "number")
    if number is not None and entity["number"] != number:
        return False
    # Without `status` and `number` only scheduled jobs are listed; "all" leaves out the canceled, "*" none.
    status = request.query_params.get("status", "scheduled" if number is None else "*")
    if status == "*":
        return True
    return entity.get("status") != "canceled" if status == "all" else entity.get("status") in status.split(",")
