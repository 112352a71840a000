"""Pure: matches the changes of two runs over the same records, per entity, by the notifications that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from processors.consolidator import Opening
from replay.walk import Bounds
from schemas.change import EntityChange

Kind = Literal["same", "vanish", "appear", "alter", "split", "merge"]
KINDS: tuple[Kind, ...] = ("same", "vanish", "appear", "alter", "split", "merge")

Place = tuple[int, int]
"""Offset and index of a notification."""


class OpenWindows(Protocol):
    """What a run still has open; a Consolidator has it."""

    def opening_of(self, key: str) -> Opening | None:
        """The open window of an entity."""


@dataclass(frozen=True, slots=True)
class Match:
    """Changes of one entity that have to do with each other; one side may be empty."""

    then: tuple[EntityChange, ...]
    now: tuple[EntityChange, ...]

    @property
    def kind(self) -> Kind:
        """What became of them under the other rules."""
        if not self.now:
            return "vanish"
        if not self.then:
            return "appear"
        if len(self.then) == len(self.now) == 1:
            return "same" if not differing(self.then[0], self.now[0]) else "alter"
        if len(self.then) == len(self.now):
            return "alter"
        return "split" if len(self.now) > len(self.then) else "merge"

    @property
    def changes(self) -> tuple[EntityChange, ...]:
        """All of both sides."""
        return (*self.then, *self.now)


def differing(then: EntityChange, now: EntityChange) -> list[str]:
    """What a consumer would find different: ids, rules and the time of closing are none of its business."""
    names = ("action", "changeset", "changeset_complete", "users", "first_at", "last_at", "notifications", "sources")
    return [name for name in names if _of(then, name) != _of(now, name)]


def _of(change: EntityChange, name: str) -> object:
    value = getattr(change, name)
    # To Python 1 and True are equal; the two sides hold what was read from the same bytes, so their text tells.
    return repr(value) if name == "changeset" else value


def covers(change: EntityChange, other: EntityChange) -> bool:
    """Whether the change may have merged notifications of the other beyond those that it lists."""
    if change.notifications == len(change.sources):
        return False
    last = _place(change, -1)
    return other.opened_ms <= change.due_ms and _place(other, -1) > last


def share(one: EntityChange, other: EntityChange) -> bool:
    """Whether two changes of one entity, of two runs, have a notification in common.

    Only the first 32 are listed. Where there are more it is enough that the windows overlap in time.
    """
    if one.sources == other.sources:
        return True
    if _place(one, -1) >= _place(other, 0) and _place(other, -1) >= _place(one, 0):
        listed = {(source.offset, source.index) for source in one.sources}
        if any((source.offset, source.index) in listed for source in other.sources):
            return True
    return covers(one, other) or covers(other, one)


def _place(change: EntityChange, number: int) -> Place:
    source = change.sources[number]
    return source.offset, source.index


@dataclass(slots=True)
class _Entity:
    """What is known of an entity and not settled, each side in the order of the log."""

    then: list[EntityChange] = field(default_factory=list)
    now: list[EntityChange] = field(default_factory=list)


class Matcher:
    """Takes the changes of both runs as they come out, and gives them matched as soon as nothing can join them.

    What is kept is what touches windows that one of the runs still has open. All windows of an entity end at its cuts,
    in both runs, so none is kept for longer than the pipeline's memory.

    Args:
        bounds: only matches in which a window belongs to the range come out.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._entities: dict[str, _Entity] = {}

    def add(self, then: Iterable[EntityChange], now: Iterable[EntityChange]) -> set[str]:
        """Take what came out of both runs at the same position; returns the entities (`account/type/id`) concerned."""
        touched: set[str] = set()
        for change in then:
            key = change.key
            touched.add(key)
            self._entity(key).then.append(change)
        for change in now:
            key = change.key
            touched.add(key)
            self._entity(key).now.append(change)
        return touched

    def settled(self, keys: Iterable[str], then: OpenWindows, now: OpenWindows) -> Iterator[Match]:
        """What of these entities can be told by now, and is forgotten here.

        An entity is worth asking for only after something of it came out: only an end of a window settles anything.
        """
        for key in keys:
            entity = self._entities.pop(key, None)
            if entity is None:
                continue
            openings = [one for one in (then.opening_of(key), now.opening_of(key)) if one is not None]
            oldest = min(_opened(side[0]) for side in (entity.then, entity.now) if side)
            if any((one.offset, one.index) <= oldest for one in openings):
                # A window around all of it: told when that closes, and not looked through until then.
                self._entities[key] = entity
                continue
            left = _Entity()
            for match in matches_of(entity.then, entity.now):
                if any(_may_join(opening, match) for opening in openings):
                    left.then += match.then
                    left.now += match.now
                elif any(self._bounds.hold(change) for change in match.changes):
                    yield match
            if left.then or left.now:
                left.then.sort(key=_opened)
                left.now.sort(key=_opened)
                self._entities[key] = left

    def waiting(self) -> int:
        """How many matches of the range are not settled."""
        return sum(self._of_range(entity) for entity in self._entities.values())

    def waiting_keys(self) -> set[str]:
        """The entities (`account/type/id`) whose they are."""
        return {key for key, entity in self._entities.items() if self._of_range(entity)}

    def _of_range(self, entity: _Entity) -> int:
        return sum(
            any(self._bounds.hold(change) for change in match.changes) for match in matches_of(entity.then, entity.now)
        )

    def _entity(self, key: str) -> _Entity:
        entity = self._entities.get(key)
        if entity is None:
            entity = self._entities[key] = _Entity()
        return entity


def matches_of(then: Sequence[EntityChange], now: Sequence[EntityChange]) -> Iterator[Match]:
    """One entity's changes of two runs, put together with all that share a notification, directly or through others."""
    if len(then) == len(now) == 1 and share(then[0], now[0]):  # as nearly always
        yield Match((then[0],), (now[0],))
        return
    left = [(False, change) for change in then] + [(True, change) for change in now]
    while left:
        group = [left.pop(0)]
        for is_now, change in group:  # it grows meanwhile
            joined = [item for item in left if item[0] != is_now and share(change, item[1])]
            group += joined
            left = [item for item in left if item not in joined] if joined else left
        yield Match(
            tuple(sorted((change for is_now, change in group if not is_now), key=_opened)),
            tuple(sorted((change for is_now, change in group if is_now), key=_opened)),
        )


def _opened(change: EntityChange) -> Place:
    return _place(change, 0)


def _may_join(opening: Opening, match: Match) -> bool:
    """Whether a window that is open may turn out to share a notification with a match."""
    place = opening.offset, opening.index
    return any(
        place <= _place(change, -1)
        or (change.notifications > len(change.sources) and opening.opened_ms <= change.due_ms)
        for change in match.changes
    )
