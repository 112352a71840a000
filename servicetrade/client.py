"""Reads and writes ServiceTrade's entities, one handle per account, over one HTTP client."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from runtime.settings import AccountSettings, ServiceTradeSettings
from schemas.encoding import encode
from schemas.errors import ApiError, ApiUnreachable, NotFound
from servicetrade.answers import entity_of, items_of, messages_of, read_body, total_pages
from servicetrade.auth import JSON_HEADERS, KIND, CookieAuth, CookieCalls, Observe, retry_after_of
from servicetrade.catalogue import entity_type_of, path_of
from servicetrade.governor import Governor
from servicetrade.session import SessionTimes, SharedSession
from servicetrade.session_store import SessionStore

Param: TypeAlias = str | int | bool | Sequence[int | str]
"""In a query, booleans are 1 and 0 and sequences are joined by commas (ServiceTrade's docs)."""


def _ignore(_account: str, _method: str, _kind: str, _status: int | None) -> None:
    pass


class ServiceTradeClient:
    """All accounts' access to ServiceTrade; an async context manager that owns the connections, not the store.

    Args:
        settings: where ServiceTrade is, and how hard it may be asked.
        accounts: by name.
        store: its table exists.
        times: of logins; the defaults unless given.
        observe: told of every exchange, for counting.
    """

    def __init__(
        self,
        settings: ServiceTradeSettings,
        accounts: Mapping[str, AccountSettings],
        store: SessionStore,
        *,
        times: SessionTimes | None = None,
        observe: Observe = _ignore,
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._store = store
        self._times = times or SessionTimes()
        self._observe = observe
        self._handles: dict[str, Account] = {}
        self._http = httpx.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/api",
            timeout=settings.timeout_s,
            headers={"Accept": "application/json", "User-Agent": "tradewind"},
            # The session is put on by hand; a jar would add whatever the last answer, also a 401, told it to.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # The governor bounds each account; a pool that is too small would make accounts wait for each other.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            # A proxy of the environment is for the way out, not for a simulator nearby.
            trust_env=settings.base_url.startswith("https://"),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    def account(self, name: str) -> Account:
        """The one handle of this account.

        Raises:
            KeyError: no such account in the settings.
        """
        if name not in self._handles:
            self._handles[name] = self._handle(name, self._accounts[name])
        return self._handles[name]

    def _handle(self, name: str, account: AccountSettings) -> Account:
        calls = CookieCalls(
            name,
            self._http,
            username=account.username,
            password=account.password,
            answer_s=self._times.answer_s,
            observe=self._observe,
        )
        fingerprints = self._store.fingerprints(account.username, account.password)
        session = SharedSession(name, self._store, calls, fingerprints=fingerprints, times=self._times)
        auth = CookieAuth(name, session, self._observe)
        return Account(name, self._http, auth, Governor(self._settings.concurrency), self._observe)


class Account:
    """One account's entities.

    All methods may raise, besides what they name: LoginRefused and LoginUnavailable (no session), ApiUnreachable (no
    answer), ApiError (an answer other than 2xx, or a 2xx one that is no ServiceTrade envelope: its status tells).
    """

    def __init__(
        self, name: str, http: httpx.AsyncClient, auth: CookieAuth, governor: Governor, observe: Observe
    ) -> None:
        self._name = name
        self._http = http
        self._auth = auth
        self._governor = governor
        self._observe = observe

    async def get(self, entity_type: str, entity_id: int | str) -> dict[str, Any]:
        """The entity's present state, whether ServiceTrade answers in the flat or in the compound shape.

        Raises:
            NotFound: there is no such entity (any more).
            ValueError: no path is known for this type, or the id is not a positive number.
        """
        response = await self._send("GET", entity_type, _path(entity_type, entity_id))
        entity = entity_of(_data(response), entity_type)
        if entity is None:
            raise ApiError(response.status_code, ("the answer holds no entity",))
        return entity

    async def list(self, entity_type: str, params: Mapping[str, Param] | None = None) -> AsyncIterator[dict[str, Any]]:
        """All items of all pages, one by one.

        What changes while the pages are read can show up twice or not at all. Without `status`, jobs are only the
        scheduled ones; without `limit`, locations come ten at a time (ServiceTrade's docs).

        Raises:
            ValueError: no path is known for this type.
        """
        page, last = 1, 1
        while page <= last:
            query = {**(params or {}), "page": page}
            response = await self._send("GET", entity_type, _path(entity_type), params=query)
            data = _data(response)
            items = items_of(data, entity_type_of(entity_type).list_key)
            if items is None:
                raise ApiError(response.status_code, ("the answer holds no list",))
            for item in items:
                yield item
            page, last = page + 1, total_pages(data)

    async def create(self, entity_type: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a new entity; returns it as ServiceTrade answers it, {} if it answers nothing.

        Raises:
            ValueError: no path is known for this type.
        """
        return _entity(await self._send("POST", entity_type, _path(entity_type), body=body), entity_type)

    async def update(self, entity_type: str, entity_id: int | str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT the fields in `body`; returns the entity as ServiceTrade answers it, {} if it answers nothing.

        Raises:
            NotFound: there is no such entity.
            ValueError: no path is known for this type, or the id is not a positive number.
        """
        return _entity(await self._send("PUT", entity_type, _path(entity_type, entity_id), body=body), entity_type)

    async def delete(self, entity_type: str, entity_id: int | str) -> None:
        """DELETE the entity.

        Raises:
            NotFound: there is no such entity (any more).
            ValueError: no path is known for this type, or the id is not a positive number.
        """
        await self._send("DELETE", entity_type, _path(entity_type, entity_id))

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
        async with self._governor.turn():
            try:
                response = await self._http.send(request, auth=self._auth, follow_redirects=False)
            except httpx.RequestError as error:
                self._observe(self._name, method, kind, None)
                self._governor.pause(None)
                raise ApiUnreachable(f"{method} {path}: {type(error).__name__}: {error}") from error
            self._govern(response)
        if response.is_success:
            return response
        failure = NotFound if response.status_code == HTTPStatus.NOT_FOUND else ApiError
        retry_after = retry_after_of(response)
        raise failure(response.status_code, messages_of(response.content), retry_after_s=retry_after)

    def _govern(self, response: httpx.Response) -> None:
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.is_server_error:
            self._governor.pause(retry_after_of(response))
        else:
            self._governor.succeeded()


def _path(entity_type: str, entity_id: int | str | None = None) -> str:
    # Never from an entity's `uri`: its host is not ours to trust with the session.
    path = path_of(entity_type)
    if path is None:
        raise ValueError(f"no path is known for entities of type {entity_type!r}")
    if entity_id is None:
        return path
    if not re.fullmatch(r"[1-9][0-9]{0,18}", str(entity_id)):
        raise ValueError(f"not an entity id: {entity_id!r}")
    return f"{path}/{entity_id}"


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
