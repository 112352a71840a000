"""Pure: what should be there by now and is not, as far as that is certain from what was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from views.story_event import Event, Judged
from views.story_topics import ChangesTold, DeliveriesTold

SLACK_MS = 60_000
"""By so much the clocks of those who write changes and outcomes may differ from the broker's."""
NOTHING_LEFT_MS = 2**62
"""Later than anything: the time of the first record where none is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was read of a partition; Unix milliseconds of record timestamps."""

    from_ms: int | None = None
    """Of the first record that retention has left; None: it has removed nothing that matters."""
    to_ms: int | None = None
    """What is younger was not read; None: everything there is was read."""

    def holds(self, at_ms: int) -> bool:
        """Whether what was written then, or later, cannot have been removed."""
        return self.from_ms is None or at_ms >= self.from_ms + SLACK_MS


ALL = Coverage()


def judge(
    events: Sequence[Event],
    changes: ChangesTold,
    deliveries: DeliveriesTold,
    *,
    seen: Coverage = ALL,
    told: Coverage = ALL,
    known: Callable[[str], bool] = lambda _sink: True,
) -> Judged:
    """Compare what the topics tell.

    Args:
        events: of the time that was asked for.
        changes: all that was read of them.
        deliveries: likewise.
        seen: what that was of servicetrade.changes.
        told: what that was of servicetrade.deliveries.
        known: whether there is a sink of that name.
    """
    gone = [event for event in events if event.kind == "window" and event.facts["change_id"] not in changes.seen]
    missing = [event.facts["change_id"] for event in gone if seen.holds(event.at_ms)]
    shown = {event.facts["change_id"] for event in events if event.kind == "change" and "change_id" in event.facts}
    of_all = [one for one in changes.seen if one in shown]
    nobody = [one for one in of_all if not any(one in ids for ids in deliveries.told.values())]
    certain = [one for one in of_all if told.holds(changes.seen[one])]
    waiting = [one for one in nobody if one in {*certain}]
    untold = {
        sink: late
        for sink, ids in sorted(deliveries.told.items())
        if known(sink) and (late := _late(sink, ids, certain, changes, {*nobody}))
    }
    return Judged(
        missing=tuple(missing),
        missing_by_ms=seen.to_ms,
        waiting=tuple(waiting),
        untold=untold,
        told_by_ms=told.to_ms,
        windows_unjudged=len(gone) - len(missing),
        changes_unjudged=len(nobody) - len(waiting),
    )


def _late(sink: str, ids: set[str], certain: Sequence[str], changes: ChangesTold, nobody: set[str]) -> tuple[str, ...]:
    """What a sink owes: it may be younger than the changes before the first that it has told of."""
    order = list(changes.seen)
    first = next((at for at, one in enumerate(order) if one in ids), len(order))
    since = {*order[first:]}
    return tuple(one for one in certain if one in since and one not in ids | nobody and changes.is_for(one, sink))
