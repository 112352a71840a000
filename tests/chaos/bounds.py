"""Pure: whether the run was hard enough: how often each rule of the consolidation bound in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from schemas.change import EntityChange
from tests.oracle import Expected

HOT_CEILINGS = 3
HOT_GAP_MS = 1_500
"""A key that is notified every 0.35 s opens its next window within this time after the last was due."""


def bindings(results: Mapping[int, Expected]) -> dict[str, int]:
    """How often each rule bound, by its name; a zero says that the run did not try it."""
    changes = [change for result in results.values() for change in result.changes]
    closed = Counter(change.closed_by for change in changes)
    return {
        "quiet": closed["quiet"],
        "ceiling": closed["ceiling"],
        "cut": closed["cut"],
        "rules": closed["rules"],
        "duplicates": sum(result.duplicates for result in results.values()),
        "repeats past the horizon": _came_through(changes),
        "filtered": sum(result.filtered for result in results.values()),
        "quarantined": sum(result.quarantined for result in results.values()),
        "rules changes": sum(len(result.adopted) for result in results.values()),
        "hot keys": _hot(changes),
    }


def unbalanced(results: Mapping[int, Expected]) -> list[str]:
    """Partitions in which the oracle itself breaks step 10, conservation."""
    told = []
    for partition, one in results.items():
        total = one.merged + one.duplicates + one.filtered + one.quarantined + one.open
        if total != one.notifications:
            told.append(f"partition {partition}: {one.notifications} notifications, accounted for {total}")
    return told


def _came_through(changes: Iterable[EntityChange]) -> int:
    """How many notifications are among the sources of changes again, under the same message id and index."""
    seen = Counter((change.account, source.message_id, source.index) for change in changes for source in change.sources)
    return sum(times - 1 for times in seen.values())


def _hot(changes: Iterable[EntityChange]) -> int:
    """How many keys have had HOT_CEILINGS windows in a row that their ceiling closed, without a pause."""
    runs: dict[str, tuple[int, int]] = {}
    hot = set()
    for change in sorted(changes, key=lambda change: change.sequence):
        length, due = runs.get(change.key, (0, 0))
        follows = change.opened_ms - due <= HOT_GAP_MS
        length = (length + 1 if follows else 1) if change.closed_by == "ceiling" else 0
        runs[change.key] = (length, change.due_ms)
        if length >= HOT_CEILINGS:
            hot.add(change.key)
    return len(hot)
