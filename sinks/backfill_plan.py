"""Pure: what a backfill was asked for, and what of a list can go into the mirror."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.entity_type import EntityType
from schemas.suggestion import did_you_mean
from sinks.mirror_core import Snapshot, snapshot_of
from sinks.mirror_row import Key

PAGE_LIMIT = 500
"""Items of a page where a type allows more: it has to come within servicetrade.timeout_s, and is read again if not."""

NOT_MIRRORED = frozenset({"webhook"})
"""A subscription's hookUrl holds a secret."""

_ENTITY_ID = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One backfill: everything of these types that was updated since then."""

    account: str
    page_limits: Mapping[str, int | None]
    """Of each type, in the order in which they are read: how many items a page is asked for; None: nothing is said."""
    since: str
    """As it was said; the same text is the same backfill until it is finished."""
    since_at: int
    """Unix seconds."""


def page_limits(
    names: Iterable[str], types: Mapping[str, EntityType], page_limit: int | None = None
) -> dict[str, int | None]:
    """How many items a page of each type is asked for, `page_limit` if it is said and ServiceTrade takes so many.

    Raises:
        ValueError: there is no such type, it has no list, or it is none for the mirror.
    """
    found: dict[str, int | None] = {}
    for name in names:
        if name not in types:
            raise ValueError(f"no type {name!r} is known; {did_you_mean(name, types, 'known')}")
        if name in NOT_MIRRORED:
            raise ValueError(f"entities of type {name!r} are not mirrored")
        known = types[name]
        if known.path is None:
            raise ValueError(
                f"no list of the type {name!r} is known; if there is one, add it to the configuration: "
                f"[servicetrade.types.{name}] path = ..."
            )
        most = known.page_limit
        found[name] = page_limit if most is None else min(most, page_limit or PAGE_LIMIT)
    if not found:
        raise ValueError("names at least one type: job,location")
    return found


def listed(account: str, entity_type: str, items: Iterable[Mapping[str, Any]]) -> list[tuple[Key, Snapshot]]:
    """What of a page can go into the mirror, in the order of the keys; of two with one id the one updated last.

    An item without a usable id is left out: nothing could be read or told about it either.
    """
    found: dict[Key, Snapshot] = {}
    for item in items:
        entity_id = str(item.get("id"))
        if not _ENTITY_ID.fullmatch(entity_id):
            continue
        key, snapshot = (account, entity_type, entity_id), snapshot_of(item)
        other = found.get(key)
        if other is None or (snapshot.updated_at or 0) >= (other.updated_at or 0):
            found[key] = snapshot
    return sorted(found.items(), key=lambda entry: entry[0])
