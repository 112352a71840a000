"""Changes made by hand, and as they arrive at a sink."""

from __future__ import annotations

from schemas.change import Action, EntityChange, change_record
from schemas.record import LogRecord
from sinks.arrival import Arrival


def change(
    sequence: int,
    entity_id: int | str = 1,
    *,
    entity_type: str = "job",
    action: Action = "updated",
    account: str = "acme",
) -> EntityChange:
    return EntityChange(
        id=f"{sequence:032x}",
        sequence=f"0001-{sequence:016d}-00000000",
        account=account,
        entity_type=entity_type,
        entity_id=str(entity_id),
        action=action,
        changeset=(),
        changeset_complete=False,
        users=(None,),
        first_at=1_700_000_000,
        last_at=1_700_000_000 + sequence,
        opened_ms=1_700_000_000_000,
        due_ms=1_700_000_000_000,
        closed_by="quiet",
        notifications=1,
        sources=(),
        rules_version="builtin",
    )


def arrived(
    change: EntityChange, *, offset: int | None = None, end: int = 0, again: bool = False
) -> Arrival[EntityChange]:
    """The change in a record of servicetrade.changes; without an offset, the number in its sequence is one."""
    key, value, headers = change_record(change)
    record = LogRecord(
        topic="servicetrade.changes",
        offset=int(change.sequence[5:21]) if offset is None else offset,
        timestamp=change.due_ms,
        key=key,
        value=value,
        headers=tuple(headers),
    )
    return Arrival(record=record, item=change, account=change.account, key=change.key, end=end, again=again)
