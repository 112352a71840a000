"""Workers that act on changes: one loop, many sinks. What a custom sink needs can be imported from here."""

from __future__ import annotations

from schemas.change import EntityChange
from schemas.errors import NotFound, Reject, RetryLater
from sinks.context import Context

__all__ = ["Context", "EntityChange", "NotFound", "Reject", "RetryLater"]
