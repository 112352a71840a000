"""EntityType: what is known about one kind of ServiceTrade's entities; what is not known is None, never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

_PATH = re.compile(r"(/[A-Za-z0-9_-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityType:
    """One kind of entity, by the name that `entity.type` has in a webhook, lower case."""

    path: str | None = None
    """Below /api; GET path lists, GET path/id reads one. None: no such path is known."""
    code: int | None = None
    """What `entityEvents[].entityType` says in a webhook subscription."""
    list_key: str | None = None
    """Where `data` of a list keeps its items."""
    page_limit: int | None = None
    """The most items that one page of a list may be asked for; None: ServiceTrade's own default."""
    list_query: Mapping[str, str] = field(default_factory=dict)
    """What a list has to be asked so that it leaves nothing out."""
    sends_webhooks: bool | None = None
    """Whether ServiceTrade lists it among the types that a webhook can be about."""

    def __post_init__(self) -> None:
        if self.path is not None and not _PATH.fullmatch(self.path):
            raise ValueError(f"path: like /job, of A-Z, a-z, 0-9, - and _; found {self.path!r}")
        if self.page_limit is not None and self.page_limit < 1:
            raise ValueError(f"page_limit must be above 0, found {self.page_limit}")

    def with_changes(self, other: EntityType) -> EntityType:
        """This one, with everything that `other` knows."""
        known = {item.name: getattr(other, item.name) for item in fields(other)}
        kept = {item.name: getattr(self, item.name) for item in fields(self)}
        return EntityType(**{**kept, **{name: value for name, value in known.items() if value not in (None, {})}})
