"""The changes that wait for the mirror: made from a seed, as the processors write them, appended before it starts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.sinks_office import TYPE, Entity
from bench.sinks_site import make_topics
from runtime.kafka import Producer
from runtime.kafka.topics import full_name
from runtime.settings import KafkaSettings
from schemas.change import EntityChange, FieldChange, change_record
from schemas.topics import CHANGES

_START_S = 1_795_000_000
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A topic of changes, the same for all who read it."""

    kafka: KafkaSettings
    changes: int
    entities: frozenset[Entity]


async def filled(kafka: KafkaSettings, jobs: Mapping[str, Sequence[int]], *, changes: int, entities: int) -> Queue:
    """Make the topics, and append so many changes of so many entities: of each as often, of all accounts as many.

    Raises:
        KafkaError: one was not acknowledged.
    """
    await make_topics(kafka)
    chosen = pick(jobs, entities)
    topic = full_name(kafka, CHANGES)
    async with Producer.open(kafka, client_id="bench-queue") as producer:
        records = [(topic, *change_record(change)) for change in made(chosen, changes)]
        for start in range(0, len(records), _AT_ONCE):
            await producer.send_all(records[start : start + _AT_ONCE])
    return Queue(kafka=kafka, changes=changes, entities=frozenset(chosen))


def pick(jobs: Mapping[str, Sequence[int]], count: int) -> list[Entity]:
    """The first jobs of each account, as many of each, and so many in all.

    Raises:
        ValueError: there are not so many.
    """
    each, rest = divmod(count, len(jobs))
    chosen = [(name, id_) for number, name in enumerate(jobs) for id_ in jobs[name][: each + (number < rest)]]
    if len(chosen) != count:
        raise ValueError(f"{count} entities are wanted, {len(chosen)} are there")
    return chosen


def made(entities: Sequence[Entity], changes: int, *, seed: int = 1) -> Iterator[EntityChange]:
    """So many changes, of the entities in turn; the turns in an order of chance, and no two turns in the same one."""
    chance, order = random.Random(seed), list(entities)
    for number in range(changes):
        place = number % len(order)
        if not place:
            chance.shuffle(order)
        yield _change(number, order[place])


def _change(number: int, entity: Entity) -> EntityChange:
    account, id_ = entity
    at_s = _START_S + number // 100
    return EntityChange(
        id=hashlib.sha256(str(number).encode()).hexdigest()[:32],
        sequence=f"0001-{number:016d}-00000000",
        account=account,
        entity_type=TYPE,
        entity_id=str(id_),
        action="updated",
        changeset=(FieldChange("status", "scheduled", "completed"),),
        changeset_complete=True,
        users=(1_600_000_000_000_000,),
        first_at=at_s,
        last_at=at_s,
        opened_ms=at_s * 1000,
        due_ms=at_s * 1000 + 2_000,
        closed_by="quiet",
        notifications=1,
        sources=(),
        rules_version="builtin",
    )
