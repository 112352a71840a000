"""Pure: what may become of a change at a sink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Delivered:
    """The change has had its effect."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The change needs no effect any more, or never does."""

    reason: str


Outcome: TypeAlias = Delivered | Skipped

ALREADY_DELIVERED = Skipped("already delivered")
"""The sink remembers a change of this entity with this sequence, or a higher one."""
