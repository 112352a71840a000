"""The mirror sink: reads the present state of every entity that changes into the SQL store."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from schemas.change import EntityChange
from schemas.errors import (
    ApiError,
    ApiUnreachable,
    LoginRefused,
    LoginUnavailable,
    NotFound,
    Reject,
    RetryLater,
    StoreError,
)
from servicetrade.client import ServiceTradeClient
from sinks.mirror_core import Snapshot, newest_of, outcomes_of, snapshot_of
from sinks.mirror_store import MirrorStore
from sinks.outcome import ALREADY_DELIVERED, Delivered, Outcome, Skipped

NO_PATH = Skipped("no GET path")
"""Nobody has published where entities of this type are read."""
STALE = Skipped("stale")
"""A read that began later, or found a later state, was written first."""

REFUSED_PAUSE_S = 30.0
"""Refused credentials stay refused until somebody changes them."""

_WORTH_ANOTHER_TRY = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


class Mirror:
    """A sink (`sinks.sink.Sink`). All changes of an entity that are waiting are served by one read."""

    name = "mirror"

    def __init__(self, client: ServiceTradeClient, store: MirrorStore) -> None:
        self._client = client
        self._store = store

    async def deliver(self, changes: Sequence[EntityChange]) -> Sequence[Outcome]:
        """See `sinks.sink.Sink`.

        Raises:
            RetryLater: no answer, no session, or an answer that may be another one later.
            Reject: ServiceTrade will not give this entity out, or the account is not configured.
        """
        newest = newest_of(changes)
        if self._client.catalogue.of(newest.entity_type).path is None:
            return [NO_PATH] * len(changes)
        if newest.action == "deleted":
            # Never read: ServiceTrade answers 404 for what is deleted.
            last_sequence = await self._store.mark_deleted(newest, at=newest.last_at)
            return outcomes_of(changes, last_sequence, Delivered())
        reading = await self._store.begin_read(newest)
        if reading is None:
            return [ALREADY_DELIVERED] * len(changes)
        seen = _leading_seen(changes, reading.last_sequence)
        if seen:
            # Settled now, so that a failure of the read cannot be put down to them.
            return [ALREADY_DELIVERED] * seen
        snapshot = await self._get(newest)
        if snapshot is None:
            await self._store.mark_deleted(newest, at=None)
            return outcomes_of(changes, reading.last_sequence, Delivered())
        written = await self._store.write(newest, reading.ticket, snapshot)
        return outcomes_of(changes, reading.last_sequence, Delivered() if written else STALE)

    async def _get(self, change: EntityChange) -> Snapshot | None:
        """The present state, or None if there is no such entity any more."""
        try:
            account = self._client.account(change.account)
        except KeyError:
            raise Reject(f"account {change.account!r} is not configured") from None
        try:
            entity: dict[str, Any] = await account.get(change.entity_type, change.entity_id)
        except NotFound:
            return None
        except (ApiUnreachable, StoreError) as error:
            raise RetryLater(str(error)) from error
        except LoginUnavailable as error:
            raise RetryLater(str(error), after_s=error.retry_after_s) from error
        except LoginRefused as error:
            # The change is as good as any: it is the account that is in trouble.
            raise RetryLater(str(error), after_s=REFUSED_PAUSE_S) from error
        except ApiError as error:
            raise _failure(error) from error
        except ValueError as error:  # an id that ServiceTrade cannot have given out
            raise Reject(str(error)) from error
        return snapshot_of(entity)


def _failure(error: ApiError) -> RetryLater | Reject:
    """What an answer other than an entity means: 4xx is about this request, anything else passes."""
    about_the_request = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if about_the_request and error.status not in _WORTH_ANOTHER_TRY:
        return Reject(str(error))
    return RetryLater(str(error), after_s=error.retry_after_s)


def _leading_seen(changes: Sequence[EntityChange], last_sequence: str) -> int:
    return next((n for n, change in enumerate(changes) if change.sequence > last_sequence), len(changes))
