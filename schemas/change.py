"""EntityChange: what the processors make of a burst of notifications, and its CloudEvents envelope."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from schemas.encoding import decode, encode

Action = Literal["created", "updated", "deleted"]
_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/json")
LAST_SECOND = 253_402_300_799
"""The end of the year 9999: RFC 3339 has no later time."""
ClosedBy = Literal["quiet", "ceiling", "cut", "rules", "clock"]


# Neither frozen nor slotted: the processors make one of these for every notification, which takes a third of the time
# so, and orjson writes an object that has a __dict__ six times as fast.
@dataclass
class FieldChange:
    """The net change of one field over the window."""

    name: str = field(metadata={"description": "name of the field, as ServiceTrade spells it"})
    old_value: Any = field(metadata={"description": "value before the first notification of the window"})
    new_value: Any = field(metadata={"description": "value after the last notification of the window"})


@dataclass
class Source:
    """Where one of the merged notifications stands in the raw log."""

    offset: int = field(metadata={"description": "offset in the account's partition of servicetrade.webhooks"})
    index: int = field(metadata={"description": "index of the notification in the webhook's data array"})
    message_id: str = field(metadata={"description": "ServiceTrade's messageId, or sha256:… of the body"})


@dataclass
class EntityChange:
    """One actionable change of one entity."""

    id: str = field(
        metadata={"description": "stable: the same for every reader of the raw log, live, after a crash, in a replay"}
    )
    sequence: str = field(
        metadata={
            "description": "log epoch, offset and index of the opening notification, zero-padded: grows per entity; "
            "ignore a change whose sequence is not above the last one you have seen for the entity"
        }
    )
    account: str = field(metadata={"description": "name of the customer account in the configuration"})
    entity_type: str = field(metadata={"description": "lower-case entity type, for example job"})
    entity_id: str = field(metadata={"description": "decimal digits; a string because ids come close to 2^53"})
    action: Action = field(metadata={"description": "the net action of the window"})
    changeset: tuple[FieldChange, ...] = field(
        metadata={"description": "net changes by field name; fields that ended as they began are left out"}
    )
    changeset_complete: bool = field(
        metadata={"description": "false if an update in the window came without a readable changeset"}
    )
    users: tuple[int | None, ...] = field(
        metadata={"description": "ids of the users who acted, in order of appearance, null for the system; at most 32"}
    )
    first_at: int = field(
        metadata={"description": "earliest time of a merged notification, Unix seconds, ServiceTrade's"}
    )
    last_at: int = field(metadata={"description": "latest time of a merged notification, Unix seconds, ServiceTrade's"})
    opened_ms: int = field(metadata={"description": "time of the log when the window opened, Unix milliseconds"})
    due_ms: int = field(
        metadata={"description": "time at which the window was due, Unix milliseconds of the log's clock"}
    )
    closed_by: ClosedBy = field(metadata={"description": "what closed the window"})
    notifications: int = field(metadata={"description": "how many notifications were merged"})
    sources: tuple[Source, ...] = field(metadata={"description": "the first merged notifications; at most 32"})
    rules_version: str = field(
        metadata={
            "description": "hash of the account's rules in force, or builtin; after replay-: those given to a replay"
        }
    )

    @property
    def subject(self) -> str:
        """`type/id`: the entity inside its account."""
        return f"{self.entity_type}/{self.entity_id}"

    @property
    def key(self) -> str:
        """`account/type/id`: the record key on servicetrade.changes."""
        return f"{self.account}/{self.entity_type}/{self.entity_id}"


def change_record(change: EntityChange) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of the change's record on servicetrade.changes."""
    return change.key.encode(), encode(change), cloud_event_headers(change)


def cloud_event_headers(change: EntityChange) -> list[tuple[str, bytes]]:
    """Kafka headers of a change: CloudEvents 1.0, Kafka protocol binding, binary content mode."""
    # A notification may carry any integer for a time; what is no date of ours gives way to the append time.
    seconds = change.last_at if 0 <= change.last_at <= LAST_SECOND else change.opened_ms // 1000
    return [
        _SPECVERSION,
        ("ce_id", change.id.encode()),
        ("ce_source", f"/servicetrade/{change.account}".encode()),
        ("ce_type", f"com.servicetrade.{change.entity_type}.{change.action}".encode()),
        ("ce_subject", change.subject.encode()),
        ("ce_time", f"{_minute(seconds // 60)}:{seconds % 60:02d}Z".encode()),
        ("ce_sequence", change.sequence.encode()),
        _CONTENT_TYPE,
    ]


@lru_cache(maxsize=1_000)
def _minute(number: int) -> str:
    """The start of an RFC 3339 time, of a minute since 1970: changes come in the order of time, many to a minute."""
    return datetime.fromtimestamp(number * 60, UTC).isoformat()[:16]


def decode_change(value: bytes) -> EntityChange:
    """Read a record value of servicetrade.changes.

    Raises:
        ValueError: the bytes are not an EntityChange.
    """
    data = decode(value)
    try:
        return EntityChange(
            **{
                **data,
                "changeset": tuple(FieldChange(**item) for item in data["changeset"]),
                "sources": tuple(Source(**item) for item in data["sources"]),
                "users": tuple(data["users"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an EntityChange: {error}") from error
