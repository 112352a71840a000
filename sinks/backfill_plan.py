"""Pure: what a backfill was asked for, and what of a list can go into the mirror."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from schemas.entity_type import EntityType
from sinks.mirror_core import Snapshot, snapshot_of
from sinks.mirror_row import Key

PAGE_LIMIT = 500
"""Items of a page where a type allows more: it has to come within servicetrade.timeout_s, and is read again if not."""

NOT_MIRRORED = frozenset({"webhook"})
"""A subscription's hookUrl holds a secret."""

_AGO = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
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


def read_since(text: str, now: datetime) -> int:
    """Unix seconds of a time as people say it: RFC 3339, a date (midnight, UTC), or how long ago: 12h, 7d, 4w.

    Raises:
        ValueError: it is none of these, or lies ahead of `now` (aware).
    """
    ago = _AGO.fullmatch(text)
    since = now - int(ago[1]) * _UNITS[ago[2]] if ago else _read_time(text)
    if since > now:
        raise ValueError(f"{text} lies ahead")
    return max(0, int(since.timestamp()))


def _read_time(text: str) -> datetime:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", text):
            return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: {error}") from None
    raise ValueError(f"{text!r} is no time; say it like 2026-11-22T09:30:00Z, 2026-11-22, 12h, 7d or 4w")


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
            close = difflib.get_close_matches(name, types, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(types)}"
            raise ValueError(f"no type {name!r} is known; {hint}")
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
