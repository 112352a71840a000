"""The custom sink: calls a function of the user's own for every change, with the guarantees of all sinks."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import TypeAlias

import httpx

from runtime.http import http_client
from runtime.logs import log_event
from runtime.sink_settings import CustomSettings
from schemas.change import EntityChange
from schemas.errors import (
    ApiError,
    LoginRefused,
    LoginUnavailable,
    Reject,
    RetryLater,
    Scope,
    ServiceTradeError,
    SettingsError,
    SinkError,
    StoreError,
)
from servicetrade.client import ServiceTradeClient
from sinks.arrival import Arrival
from sinks.context import Context
from sinks.memory import Remembering
from sinks.memory_store import MemoryStore
from sinks.sink import Fate
from sinks.steps import At, pass_by

Deliver: TypeAlias = Callable[[EntityChange, Context], Awaitable[object]]


_log = logging.getLogger(__name__)


def load_custom(name: str, settings: CustomSettings) -> Deliver:
    """The function that [sinks.custom.NAME] names.

    Raises:
        SettingsError: it cannot be imported, or is no `async def` that takes a change and a context.
    """
    setting = f"sinks.custom.{name}.deliver"
    module_name, _, function_name = settings.deliver.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # what a module of the user's does when it is imported is anybody's guess
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise SettingsError(f"{setting}: {module_name} cannot be imported: {reason}") from error
    function = getattr(module, function_name, None)
    if function is None:
        raise SettingsError(f"{setting}: {module_name} has no {function_name}")
    if not inspect.iscoroutinefunction(function):
        raise SettingsError(f"{setting}: {settings.deliver} must be an async def")
    try:
        inspect.signature(function).bind("change", "context")
    except TypeError as error:
        wanted = f"async def {function_name}(change, context)"
        raise SettingsError(f"{setting}: {settings.deliver} must be {wanted}: {error}") from error
    deliver: Deliver = function
    return deliver


class Custom:
    """`sinks.memory.Acting` by a function of the user's own.

    Args:
        name: of the sink, [sinks.custom.NAME].
        deliver: the function.
        settings: how long it may take, and what it gets.
        servicetrade: gives it the account of the change.
        http: for requests of its own.
    """

    fate: Fate = "account"

    def __init__(
        self,
        name: str,
        deliver: Deliver,
        settings: CustomSettings,
        servicetrade: ServiceTradeClient,
        http: httpx.AsyncClient,
    ) -> None:
        self.name = f"custom/{name}"
        self._deliver = deliver
        self._settings = settings
        self._servicetrade = servicetrade
        self._http = http
        self._logger = logging.getLogger(f"sinks.custom.{name}")

    async def act(self, arrival: Arrival[EntityChange]) -> None:
        """See `sinks.memory.Acting`. No fault of the function crashes the worker: it would stop all entities for good.

        Raises:
            RetryLater: from the function; or it took too long, or raised something that it should not have.
            Reject: from the function; or the account is not configured, or ServiceTrade's answer was final.
            Halt: from the function.
        """
        context = self._context(arrival)
        try:
            # A copy: whatever the function does with it, what is reported afterwards is what has arrived.
            await self._call(replace(arrival.item), context)
        except SinkError:
            raise
        except (ServiceTradeError, StoreError) as error:
            raise _failure(error) from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # Of something that the function waited for: nobody has cancelled this call.
            raise RetryLater("something that it waited for was cancelled") from error
        except httpx.HTTPStatusError as error:
            # Its own text has the URL, and what is secret in it.
            raise RetryLater(f"HTTP {error.response.status_code}") from None
        except httpx.RequestError as error:
            raise RetryLater(f"no answer: {type(error).__name__}: {error}") from error
        except Exception as error:
            fields = {"sink": self.name, "account": context.account, "change": context.idempotency_key}
            log_event(_log, "custom.failed", level=logging.ERROR, fault=error, **fields)
            raise RetryLater(f"{type(error).__name__}: {error}") from error

    async def _call(self, change: EntityChange, context: Context) -> None:
        limit_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(limit_s) as timer:
                await self._deliver(change, context)
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise RetryLater(f"not done within {limit_s:g} s (timeout_s)") from error

    def _context(self, arrival: Arrival[EntityChange]) -> Context:
        try:
            account = self._servicetrade.account(arrival.account)
        except KeyError:
            raise Reject(f"account {arrival.account!r} is not configured") from None
        return Context(
            account=arrival.account,
            idempotency_key=arrival.item.id,
            attempt=arrival.attempts + 1,
            redriven=arrival.again,
            options=self._settings.options,
            secrets=self._settings.secrets,
            servicetrade=account,
            http=self._http,
            logger=self._logger,
        )


def _failure(error: ServiceTradeError | StoreError) -> RetryLater | Reject:
    """What it means that the function left one of ServiceTrade's errors to us."""
    scope: Scope = "account"
    after_s = error.retry_after_s if isinstance(error, LoginUnavailable | ApiError) else None
    if isinstance(error, StoreError):
        scope = "sink"
    elif isinstance(error, ApiError) and error.status != HTTPStatus.TOO_MANY_REQUESTS:
        if error.is_final:
            return Reject(f"ServiceTrade: {error}")
        scope = "entity"
    # Refused credentials stay refused until somebody changes them.
    return RetryLater(str(error), after_s=after_s, scope=scope, lasting=isinstance(error, LoginRefused))


@asynccontextmanager
async def open_custom(
    name: str, settings: CustomSettings, servicetrade: ServiceTradeClient, store: MemoryStore, *, at: At = pass_by
) -> AsyncIterator[Remembering]:
    """The sink with its function and connections, for as long as the block lasts.

    Raises:
        SettingsError: from `load_custom`.
    """
    deliver = load_custom(name, settings)
    http = http_client(timeout_s=10.0)
    async with http:
        yield Remembering(Custom(name, deliver, settings, servicetrade, http), store, at=at)
