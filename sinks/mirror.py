"""The mirror sink: reads the present state of every entity that changes into the SQL store."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

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
from servicetrade.account import Account
from servicetrade.client import ServiceTradeClient
from sinks.arrival import Arrival
from sinks.mirror_core import SUPERSEDED, Snapshot, newest_of, outcomes_of, snapshot_of
from sinks.mirror_coverage import Covered, up_to_deletion
from sinks.mirror_store import MirrorStore
from sinks.outcome import ALREADY_DELIVERED, Delivered, Outcome, Skipped
from sinks.sink import Fate
from sinks.steps import At, pass_by

STEPS = (
    "ticket",  # the read has its ticket, and ServiceTrade was not asked yet
    "read",  # ServiceTrade has answered, and nothing is written
    "written",  # the row and its memory of the change are written
    "marked",  # the row is marked as deleted, with the same memory
    "noted",  # the row remembers changes that an earlier read has covered
)

NO_PATH = Skipped("no GET path")
"""Nobody has published where entities of this type are read."""
STALE = Skipped("stale")
"""A read that began later, or found a later state, was written first."""

REFUSED_PAUSE_S = 30.0
"""Refused credentials stay refused until somebody changes them."""

_ACCOUNT_TROUBLE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Mirror:
    """A sink (`sinks.sink.Sink`). One read serves all changes of an entity that were appended before it began.

    Args:
        client: gives the accounts.
        store: where the entities go; its tables exist.
        at: see `sinks.steps`; it is told of `STEPS`.
    """

    name = "mirror"
    fate: Fate = "account"

    def __init__(self, client: ServiceTradeClient, store: MirrorStore, *, at: At = pass_by) -> None:
        self._client = client
        self._store = store
        self._at = at
        self._covered = Covered()

    async def deliver(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome]:
        """See `sinks.sink.Sink`.

        Raises:
            RetryLater: no answer, no session, an answer that may be another one later, or the store fails.
            Reject: ServiceTrade will not give this entity out, or the account is not configured.
        """
        if self._client.catalogue.of(arrivals[0].item.entity_type).path is None:
            return [NO_PATH] * len(arrivals)
        try:
            if deleted := up_to_deletion(arrivals):
                return await self._mark(deleted)
            covered = self._covered.leading(arrivals)
            return (await self._note(covered) if covered else None) or await self._read(arrivals)
        except StoreError as error:
            raise RetryLater(str(error), scope="sink") from error

    async def _mark(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome]:
        """The newest is a deletion. Nothing is read: ServiceTrade answers 404 for what is deleted."""
        newest = newest_of([arrival.item for arrival in arrivals])
        again = any(arrival.again and arrival.item is newest for arrival in arrivals)
        last_sequence = await self._store.mark_deleted(newest, at=newest.last_at, again=again)
        self._at("marked")
        # If a read found it alive all the same, the changes that follow say who is right.
        self._covered.forget(arrivals)
        return _outcomes(arrivals, last_sequence, Delivered())

    async def _note(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome] | None:
        """A read has covered these; None: its row is gone, so they have to be read after all."""
        last_sequence = await self._store.note(newest_of([arrival.item for arrival in arrivals]))
        self._at("noted")
        if last_sequence is None:
            self._covered.forget(arrivals)
            return None
        return _outcomes(arrivals, last_sequence, SUPERSEDED)

    async def _read(self, arrivals: Sequence[Arrival[EntityChange]]) -> Sequence[Outcome]:
        newest = newest_of([arrival.item for arrival in arrivals])
        end = max(arrival.end for arrival in arrivals)
        account = self._account(newest.account)
        reading = await self._store.begin_read(newest, again=any(arrival.again for arrival in arrivals))
        if reading is None:
            return [ALREADY_DELIVERED] * len(arrivals)
        self._at("ticket")
        seen = _leading_seen(arrivals, reading.last_sequence)
        if seen:
            # Settled now, so that a failure of the read cannot be put down to them.
            return [ALREADY_DELIVERED] * seen
        snapshot = await _get(account, newest)
        self._at("read")
        written = True
        if snapshot is None:
            await self._store.mark_deleted(newest, at=None)
        else:
            written = await self._store.write(newest, reading.ticket, snapshot)
        self._at("written")
        self._covered.remember(arrivals, end)
        return _outcomes(arrivals, reading.last_sequence, Delivered() if written else STALE)

    def _account(self, name: str) -> Account:
        try:
            return self._client.account(name)
        except KeyError:
            raise Reject(f"account {name!r} is not configured") from None


async def _get(account: Account, change: EntityChange) -> Snapshot | None:
    """The present state, or None if there is no such entity any more."""
    try:
        return snapshot_of(await account.get(change.entity_type, change.entity_id))
    except NotFound:
        return None
    except LoginRefused as error:
        # The change is as good as any: it is the account that is in trouble.
        raise RetryLater(str(error), after_s=REFUSED_PAUSE_S, scope="account", lasting=True) from error
    except LoginUnavailable as error:
        raise RetryLater(str(error), after_s=error.retry_after_s, scope="account") from error
    except ApiUnreachable as error:
        raise RetryLater(str(error), scope="account") from error
    except ApiError as error:
        raise _failure(error) from error
    except ValueError as error:  # an id that ServiceTrade cannot have given out
        raise Reject(str(error)) from error


def _failure(error: ApiError) -> RetryLater | Reject:
    """What an answer other than an entity means: 4xx is about this request, anything else passes."""
    if error.status in _ACCOUNT_TROUBLE:
        return RetryLater(str(error), after_s=error.retry_after_s, scope="account")
    if error.is_final:
        return Reject(str(error))
    return RetryLater(str(error), after_s=error.retry_after_s)


def _leading_seen(arrivals: Sequence[Arrival[EntityChange]], last_sequence: str) -> int:
    for count, arrival in enumerate(arrivals):
        if arrival.again or arrival.item.sequence > last_sequence:
            return count
    return len(arrivals)


def _outcomes(arrivals: Sequence[Arrival[EntityChange]], last_sequence: str, newest: Outcome) -> list[Outcome]:
    """As `outcomes_of` has it, but what was redriven has been acted on in any case."""
    outcomes = outcomes_of([arrival.item for arrival in arrivals], last_sequence, newest)
    return [newest if arrival.again else outcome for arrival, outcome in zip(arrivals, outcomes, strict=True)]
