"""Gathers what the ledger is drawn up from: the sender's journal, the topics, the store, ServiceTrade's entities."""

from __future__ import annotations

from typing import Any

from demo.ledger import Evidence
from demo.simulator import Control
from demo.stage import Stage
from runtime.database import Database
from runtime.kafka import LogReader
from schemas.encoding import decode
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, DELIVERIES, WEBHOOKS, Topic
from sinks.mirror_store import MirrorStore


async def read_topic(reader: LogReader, stage: Stage, topic: Topic) -> list[LogRecord]:
    """Every record of a topic, partition by partition."""
    records: list[LogRecord] = []
    for partition in await reader.partitions(stage.settings.kafka.topic_prefix + topic.name):
        start, stop = await reader.beginning(partition), await reader.end(partition)
        async for batch in reader.read(partition, start, stop):
            records += batch
    return records


async def count_topic(reader: LogReader, stage: Stage, topic: Topic) -> int:
    """How many records were ever appended to a topic."""
    name = stage.settings.kafka.topic_prefix + topic.name
    return sum([await reader.end(partition) for partition in await reader.partitions(name)])


async def gather(stage: Stage, control: Control, reader: LogReader, store: Database) -> Evidence:
    """Read everything; the topics in the order of the flow, so that nothing is missed that stands before."""
    journals = {account.name: await control.journal(account.name) for account in stage.accounts}
    deliveries = await read_topic(reader, stage, DELIVERIES)
    changes = await read_topic(reader, stage, CHANGES)
    deadletters = await read_topic(reader, stage, DEADLETTERS)
    webhooks = await read_topic(reader, stage, WEBHOOKS)
    entities: dict[str, Any] = {}
    touched: set[str] = set()
    for account in stage.accounts:
        found = await control.entities(account.name)
        unreadable = tuple(f"{kind}/" for kind in found["unreadable"])
        entities |= {f"{account.name}/{name}": entity for name, entity in found["entities"].items()}
        touched |= {f"{account.name}/{name}" for name in found["touched"] if not name.startswith(unreadable)}
    rows = await MirrorStore(store).rows()
    return Evidence(
        journals=journals,
        webhooks=webhooks,
        changes=changes,
        deadletters=deadletters,
        deliveries=deliveries,
        rows={
            f"{row.account}/{row.entity_type}/{row.entity_id}": {
                "deleted": row.deleted_at is not None,
                "data": decode((row.data or "{}").encode()),
            }
            for row in rows
        },
        entities=entities,
        touched=frozenset(touched),
        sinks=stage.sinks,
    )
