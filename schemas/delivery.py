"""Delivery: what became of one change at one sink."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["delivered", "skipped", "dead-lettered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One record on servicetrade.deliveries, keyed `account/type/id`."""

    change_id: str = field(metadata={"description": "id of the change"})
    sequence: str = field(metadata={"description": "sequence of the change"})
    account: str = field(metadata={"description": "name of the customer account"})
    entity_type: str = field(metadata={"description": "lower-case entity type"})
    entity_id: str = field(metadata={"description": "decimal digits"})
    sink: str = field(metadata={"description": "name of the sink, for example mirror"})
    outcome: Outcome = field(metadata={"description": "how it ended"})
    reason: str = field(metadata={"description": "why it was skipped or dead-lettered, else empty"})
    attempts: int = field(metadata={"description": "calls of the sink for this change, 0 if none was needed"})
    latency_ms: int = field(metadata={"description": "from the change's record timestamp to its outcome"})
