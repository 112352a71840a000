"""Pure: the windows that have to come out of a workload, by the gap between an entity's notifications alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from bench.workload import CLOSING_TYPE, QUIET_MS, Posted


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """One burst of one entity, as every contender has to report it."""

    key: str
    """account/type/id"""
    first_ms: int
    last_ms: int
    count: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One output record: a closed window, or a part of one that the processors' cuts have split."""

    key: str
    first_ms: int
    last_ms: int | None
    """None where the record does not tell."""
    count: int
    is_cut: bool = False


def expected(posted: Iterable[Posted], *, gap_ms: int = QUIET_MS) -> set[Window]:
    """The windows of webhooks that are in the order of their timestamps; those of closing entities are left out."""
    open_windows: dict[str, Window] = {}
    found: set[Window] = set()
    for one in posted:
        for element in orjson.loads(one.body)["data"]:
            entity = element["entity"]
            if entity["type"] == CLOSING_TYPE:
                continue
            key = f"{one.account}/{entity['type']}/{entity['id']}"
            window = open_windows.get(key)
            if window is not None and one.timestamp_ms - window.last_ms <= gap_ms:
                open_windows[key] = Window(key, window.first_ms, one.timestamp_ms, window.count + 1)
                continue
            if window is not None:
                found.add(window)
            open_windows[key] = Window(key, one.timestamp_ms, one.timestamp_ms, 1)
    return found | set(open_windows.values())
