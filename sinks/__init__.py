"""Workers that act on changes: one loop, many sinks. What a custom sink needs can be imported from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.change import EntityChange
from schemas.errors import NotFound, Reject, RetryLater

if TYPE_CHECKING:
    from sinks.context import Context
else:

    def __getattr__(name: str) -> type:
        """`Context`, when it is asked for: it brings the HTTP client along, and most of this room needs none."""
        if name != "Context":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from sinks.context import Context  # noqa: PLC0415

        return Context


__all__ = ["Context", "EntityChange", "NotFound", "Reject", "RetryLater"]
