"""Pure: webhooks as ServiceTrade sends them, from a seed: bursts about one entity each, interleaved."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

QUIET_MS = 2_000
"""The gap that ends a window: the built-in quiet period."""
MAX_BURST = 8
GAP_MS = (100, 600)
"""Least and greatest time between two notifications of a burst: well inside the quiet period."""
REST_MS = 5_000
"""An entity rests at least this long between two bursts: well outside the quiet period, so that no engine's way of
counting the very edge of a gap matters."""
ENTITIES = 400
"""Entities per account that bursts choose from."""
CLOSING_TYPE = "closing"
"""Entity type of the records that only move event time on."""

_TYPES = ("job", "appointment", "jobitem", "invoice", "location", "quote")
_STATES = ("scheduled", "in_progress", "completed", "pending_invoice", "on_hold", "canceled")
_FIRST_ID = 2_100_000_000_000_000
"""Live ids are of this size."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One webhook in the raw log."""

    timestamp_ms: int
    account: str
    body: bytes


def account_name(number: int) -> str:
    """The name of an account of the workload."""
    return f"account-{number:02}"


def generate(
    notifications: int, *, accounts: int = 50, seed: int = 1, start_ms: int, span_s: float, entities: int = ENTITIES
) -> Iterator[Posted]:
    """Webhooks of one notification each, of about 360 bytes, in the order of their timestamps.

    Bursts of 1 to 8 (uniform) notifications about one entity, 100 to 600 ms apart, interleaved with other bursts; an
    entity rests for 5 s or more between its bursts. There are no duplicates. The same arguments give the same bytes.

    Args:
        notifications: how many, exactly.
        accounts: accounts they are spread over.
        seed: of all that is random.
        start_ms: timestamp of the first possible one, Unix milliseconds.
        span_s: seconds over which the bursts begin; the last one may end up to 4.2 s later.
        entities: per account, how many the bursts choose from; one that has no rest is passed over for a new one.
    """
    chance = random.Random(seed)
    bursts = 2 * notifications / (1 + MAX_BURST)
    waiting: list[tuple[int, int, Posted]] = []
    rested_at: dict[tuple[int, int], int] = {}
    made = begun = 0
    while made < notifications:
        at_ms = start_ms + round(min(begun / bursts, 1.0) * span_s * 1000)
        begun += 1
        while waiting and waiting[0][0] <= at_ms:
            yield heapq.heappop(waiting)[2]
        account, entity = chance.randrange(accounts), chance.randrange(entities)
        if rested_at.get((account, entity), 0) > at_ms:
            entity = entities + begun
        length = min(chance.randint(1, MAX_BURST), notifications - made)
        for place in range(length):
            made += 1
            heapq.heappush(waiting, (at_ms, made, _posted(chance, at_ms, account, entity, place)))
            rested_at[account, entity] = at_ms + REST_MS
            at_ms += chance.randint(*GAP_MS)
    while waiting:
        yield heapq.heappop(waiting)[2]


def closing(*, accounts: int = 50, per_account: int = 8, at_ms: int) -> Iterator[Posted]:
    """Webhooks about entities of the type `closing`, all at one time far behind the workload's end.

    Engines that close windows by event time need them; several per account, so that all partitions of a re-keyed
    topic get one too. They are counted nowhere.
    """
    chance = random.Random(0)
    for account in range(accounts):
        for entity in range(per_account):
            yield Posted(at_ms, account_name(account), webhook(chance, at_ms, CLOSING_TYPE, _FIRST_ID + entity))


def _posted(chance: random.Random, at_ms: int, account: int, entity: int, place: int) -> Posted:
    entity_type = _TYPES[entity % len(_TYPES)]
    action = "created" if place == 0 and chance.random() < 0.1 else "updated"  # noqa: PLR2004 - one burst in ten
    return Posted(at_ms, account_name(account), webhook(chance, at_ms, entity_type, _FIRST_ID + entity, action=action))


def webhook(chance: random.Random, at_ms: int, entity_type: str, entity_id: int, *, action: str = "updated") -> bytes:
    """The body of a webhook with one notification, as ServiceTrade sends it with changesets on; compact JSON."""
    old, new = chance.choice(_STATES), chance.choice(_STATES)
    message_id = UUID(int=chance.getrandbits(128), version=4)
    changeset = f',"changeset":[{{"field":"status","oldValue":"{old}","newValue":"{new}"}}]'
    return (
        f'{{"messageId":"{message_id}","timestamp":"{at_ms // 1000}","data":[{{"action":"{action}",'
        f'"timestamp":{at_ms // 1000},"userId":{1_600_000_000_000_000 + chance.randrange(40)},'
        f'"entity":{{"type":"{entity_type}","id":{entity_id},'
        f'"uri":"https://api.servicetrade.com/api/{entity_type}/{entity_id}"}}'
        f"{changeset if action == 'updated' else ''}}}]}}"
    ).encode()
