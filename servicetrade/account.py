"""Reads and writes the entities of one account."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from runtime.settings import ServiceTradeSettings
from schemas.encoding import encode
from schemas.errors import ApiError, ApiUnreachable, NotFound, PermissionDenied
from servicetrade.answers import entity_of, items_of, messages_of, read_body, total_pages
from servicetrade.auth import JSON_HEADERS, KIND, TIMER, CookieAuth, count, retry_after_of
from servicetrade.catalogue import Catalogue
from servicetrade.governor import Governor
from servicetrade.session import SessionSource

Param: TypeAlias = str | int | bool | Sequence[int | str]
"""In a query, booleans are 1 and 0 and sequences are joined by commas (ServiceTrade's docs)."""

OVERLAP_S = 300
"""What an incremental read goes back further than it was asked to: a clock that is off, a transaction that was slow."""

_FAILURES: Mapping[int, type[ApiError]] = {404: NotFound, 403: PermissionDenied}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    number: int
    """From 1."""
    total: int
    """How many there are, as this page's answer tells: another one may tell otherwise."""
    items: Sequence[dict[str, Any]]


class Account:
    """One account's entities.

    All methods may raise, besides what they name: LoginRefused and LoginUnavailable (no session), StoreError (the store
    of sessions failed), ApiUnreachable (no answer), ApiError (an answer other than 2xx, or a 2xx one that is no
    ServiceTrade envelope: its status tells), PermissionDenied (403), and ValueError (no path is known for this type, or
    the id is not a positive number).
    """

    def __init__(
        self,
        name: str,
        http: httpx.AsyncClient,
        sessions: SessionSource,
        settings: ServiceTradeSettings,
        catalogue: Catalogue,
    ) -> None:
        self._name = name
        self._http = http
        self._governor = Governor(settings.concurrency)
        self._auth = CookieAuth(name, sessions, self._governor, settings.timeout_s)
        self._catalogue = catalogue

    async def get(self, entity_type: str, entity_id: int | str) -> dict[str, Any]:
        """The entity's present state, whether ServiceTrade answers in the flat or in the compound shape.

        Raises:
            NotFound: there is no such entity (any more).
        """
        response = await self._send("GET", entity_type, self._path(entity_type, entity_id))
        entity = entity_of(_data(response), entity_type)
        if entity is None:
            raise ApiError(response.status_code, ("the answer holds no entity",))
        return entity

    async def list(
        self, entity_type: str, params: Mapping[str, Param] | None = None, *, updated_since: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """All items of all pages, one by one, in pages as large as the type allows.

        What changes while the pages are read can show up twice or not at all: read again with `updated_since`.

        Args:
            entity_type: its catalogue entry says what a list has to be asked to be complete (jobs: `status=*`).
            params: of the query; they win over the catalogue's.
            updated_since: Unix seconds; items that were updated at this time or later, and up to `OVERLAP_S` before.
        """
        async for page in self.pages(entity_type, params, updated_since=updated_since):
            for item in page.items:
                yield item

    async def pages(
        self,
        entity_type: str,
        params: Mapping[str, Param] | None = None,
        *,
        updated_since: int | None = None,
        first: int = 1,
    ) -> AsyncIterator[Page]:
        """The pages that `list` is made of, at least one, for whoever wants to go on later from where he was.

        Args:
            entity_type: see `list`.
            params: see `list`.
            updated_since: see `list`.
            first: number of the page to begin with; one that is beyond the last is empty.
        """
        kind = self._catalogue.of(entity_type)
        query: dict[str, Param] = dict(kind.list_query)
        if kind.page_limit is not None:
            query["limit"] = kind.page_limit
        since = None if updated_since is None else max(0, updated_since - OVERLAP_S)
        if since is not None:
            query["updatedAfter"] = since
        query |= params or {}
        number, last = first, first
        while number <= last:
            response = await self._send("GET", entity_type, self._path(entity_type), params={**query, "page": number})
            data = _data(response)
            items = items_of(data, kind.list_key)
            if items is None:
                raise ApiError(response.status_code, ("the answer holds no list",))
            if not all(isinstance(item, dict) for item in items):
                raise ApiError(response.status_code, ("the list holds something else than entities",))
            last = total_pages(data)
            yield Page(number, last, [item for item in items if since is None or _may_be_as_new(item, since)])
            number += 1

    async def create(self, entity_type: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a new entity; returns it as ServiceTrade answers it, {} if it answers nothing."""
        return _entity(await self._send("POST", entity_type, self._path(entity_type), body=body), entity_type)

    async def update(self, entity_type: str, entity_id: int | str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT the fields in `body`; returns the entity as ServiceTrade answers it, {} if it answers nothing.

        Raises:
            NotFound: there is no such entity.
        """
        path = self._path(entity_type, entity_id)
        return _entity(await self._send("PUT", entity_type, path, body=body), entity_type)

    async def delete(self, entity_type: str, entity_id: int | str) -> None:
        """DELETE the entity.

        Raises:
            NotFound: there is no such entity (any more).
        """
        await self._send("DELETE", entity_type, self._path(entity_type, entity_id))

    async def _send(
        self,
        method: str,
        kind: str,
        path: str,
        *,
        params: Mapping[str, Param] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        request = self._http.build_request(
            method,
            path,
            params={name: _query_value(value) for name, value in (params or {}).items()} or None,
            content=None if body is None else encode(dict(body)),
            headers=None if body is None else JSON_HEADERS,
        )
        request.extensions[KIND] = kind
        try:
            response = await self._exchange(request)
        except (httpx.RequestError, TimeoutError) as error:
            count(self._name, kind, None)
            self._governor.pause(None)
            # Not "from error": that holds the request, and the request the session.
            sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            raise ApiUnreachable(f"{method} {path}: no answer ({type(error).__name__}: {error})", sent=sent) from None
        if response.is_success:
            return response
        failure = _FAILURES.get(response.status_code, ApiError)
        retry_after = retry_after_of(response)
        raise failure(response.status_code, messages_of(response.content), retry_after_s=retry_after)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._exchange_once(request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # Often a connection that the server closed for being idle just when it was used again. Only a GET is
            # harmless to send twice.
            if request.method != "GET":
                raise
            return await self._exchange_once(request)

    async def _exchange_once(self, request: httpx.Request) -> httpx.Response:
        async with asyncio.timeout(None) as request.extensions[TIMER]:
            return await self._http.send(request, auth=self._auth, follow_redirects=False)

    def _path(self, entity_type: str, entity_id: int | str | None = None) -> str:
        # Never from an entity's `uri`: its host is not ours to trust with the session.
        path = self._catalogue.of(entity_type).path
        if path is None:
            raise ValueError(f"no path is known for entities of type {entity_type!r}")
        if entity_id is None:
            return path
        if not re.fullmatch(r"[1-9][0-9]{0,18}", str(entity_id)):
            raise ValueError(f"not an entity id: {entity_id!r}")
        return f"{path}/{entity_id}"


def _may_be_as_new(item: Mapping[str, Any], since: int) -> bool:
    # Not every resource knows updatedAfter; one that does not answers with everything.
    return not isinstance(item.get("updated"), int) or item["updated"] >= since


def _query_value(value: Param) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | int):
        return str(value)
    return ",".join(str(item) for item in value)


def _data(response: httpx.Response) -> Any:
    try:
        return read_body(response.content).get("data")
    except ValueError as error:
        raise ApiError(response.status_code, ("the answer is not JSON",)) from error


def _entity(response: httpx.Response, entity_type: str) -> dict[str, Any]:
    return entity_of(_data(response), entity_type) or {}
