"""Appends to servicetrade.changes as the processors do, and keeps on record what stands where."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.kafka import Producer, acknowledged
from schemas.change import Action, EntityChange, FieldChange, change_record
from schemas.topics import CHANGES
from tests.sinks_chaos.ledger import Entity, Fate, Ledger, Place

Record = tuple[bytes | None, bytes, list[tuple[str, bytes]]]
"""Key, value, headers."""
Noting = Callable[[Place], None]
"""Puts into the ledger where a record stands."""
EPOCH_S = 1_700_000_000
MOST_UNACKNOWLEDGED = 2_000


@dataclass(slots=True)
class Appender:
    """One producer; per key the order of calls is that of the sequences and of the records."""

    producer: Producer
    seed: int
    topic: str = CHANGES.name
    ledger: Ledger = field(default_factory=Ledger)
    changes: int = 0
    """Changes appended, each counted once."""
    copies: int = 0
    _pending: list[tuple[asyncio.Future[Any], Noting | None]] = field(default_factory=list)

    async def change(self, entity: Entity, action: Action, *, fate: Fate = "good", note: str = "") -> Record:
        """Append the next change of an entity; gives its record, for copies."""
        self.changes += 1
        change = _change(self.seed, self.changes, entity, action, note)
        record = change_record(change)
        original = record[:2]
        await self._send(record, lambda place: self.ledger.add(change, fate, place, original))
        return record

    async def garbage(self, key: bytes | None, value: bytes) -> None:
        """Append a record that is no change."""
        await self._send((key, value, []), lambda place: self.ledger.garbage.update({place: (key, value)}))

    async def copy(self, record: Record) -> None:
        """Append a record once more, as the processors do after a crash."""
        self.copies += 1
        await self._send(record, None)

    async def flush(self) -> None:
        """Wait until everything is acknowledged, and put it into the ledger."""
        pending, self._pending = self._pending, []
        for sent, note in pending:
            position = await acknowledged(sent)
            if note is not None:
                note((position.partition.topic, position.partition.number, position.offset))
        self.ledger.entries.sort(key=lambda entry: entry.sequence)

    async def _send(self, record: Record, note: Noting | None) -> None:
        key, value, headers = record
        self._pending.append((await self.producer.send(self.topic, key=key, value=value, headers=headers), note))
        if len(self._pending) > MOST_UNACKNOWLEDGED:
            await self.flush()


def _change(seed: int, number: int, entity: Entity, action: Action, note: str) -> EntityChange:
    account, entity_type, entity_id = entity
    changeset = (FieldChange("status", "open", note),) if note and action == "updated" else ()
    return EntityChange(
        id=hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:32],
        sequence=f"0001-{number:016d}-00000000",
        account=account,
        entity_type=entity_type,
        entity_id=entity_id,
        action=action,
        changeset=changeset,
        changeset_complete=bool(changeset),
        users=(None,) if number % 7 else (1234, None),
        first_at=EPOCH_S + number,
        last_at=EPOCH_S + number,
        opened_ms=(EPOCH_S + number) * 1_000,
        due_ms=(EPOCH_S + number) * 1_000 + 500,
        closed_by="quiet",
        notifications=1 + number % 3,
        sources=(),
        rules_version="builtin",
    )
