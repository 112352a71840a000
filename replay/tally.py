"""Pure: counts what other rules would have changed, per entity type, and keeps examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from replay.matching import KINDS, Kind, Match, differing
from replay.walk import Bounds
from schemas.change import EntityChange

EXAMPLES = 3
"""Of each kind."""


@dataclass(slots=True)
class Counts:
    """Figures of one entity type, or of all."""

    then: int = 0
    """Changes of the range, under the rules of then."""
    now: int = 0
    """Under the others."""
    kinds: Counter[Kind] = field(default_factory=Counter)
    """Matches: a split or a merge is one, of however many changes."""
    reads_then: int = 0
    """Changes for which the mirror would read the entity, were no two of them read at once."""
    reads_now: int = 0

    def add(self, other: Counts) -> None:
        """Sum up."""
        self.then += other.then
        self.now += other.now
        self.kinds += other.kinds
        self.reads_then += other.reads_then
        self.reads_now += other.reads_now

    @property
    def reads_saved(self) -> int:
        """At most."""
        return self.reads_then - self.reads_now

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "then": self.then,
            "now": self.now,
            **{kind: self.kinds[kind] for kind in KINDS},
            "api_reads_then": self.reads_then,
            "api_reads_now": self.reads_now,
            "api_reads_saved": self.reads_saved,
        }


class Tally:
    """Counts matches.

    Args:
        has_path: whether an entity type can be read from the API: of others the mirror keeps nothing.
        examples: how many of each kind are kept.
    """

    def __init__(self, has_path: Callable[[str], bool], *, examples: int = EXAMPLES) -> None:
        self.by_type: defaultdict[str, Counts] = defaultdict(Counts)
        self.examples: dict[Kind, list[tuple[int, Match]]] = {kind: [] for kind in KINDS if kind != "same"}
        """With the partition of the raw log."""
        self.still_open = 0
        """Entities of which something is not judged: a window is open where the live run has come to."""
        self._has_path = has_path
        self._keep = examples

    def add(self, match: Match, bounds: Bounds, partition: int) -> Kind:
        """Count a match; of its changes those that belong to the range."""
        kind = match.kind
        counts = self.by_type[match.changes[0].entity_type]
        counts.kinds[kind] += 1
        for change in match.then:
            if bounds.hold(change):
                counts.then += 1
                counts.reads_then += self._is_read(change)
        for change in match.now:
            if bounds.hold(change):
                counts.now += 1
                counts.reads_now += self._is_read(change)
        if kind != "same" and len(self.examples[kind]) < self._keep:
            self.examples[kind].append((partition, match))
        return kind

    def total(self) -> Counts:
        """All types."""
        total = Counts()
        for counts in self.by_type.values():
            total.add(counts)
        return total

    def _is_read(self, change: EntityChange) -> bool:
        return change.action != "deleted" and self._has_path(change.entity_type)

    def as_json(self) -> dict[str, Any]:
        """The summary, for programs."""
        return {
            "summary": self.total().as_json(),
            "types": {name: counts.as_json() for name, counts in sorted(self.by_type.items())},
            "still_open": self.still_open,
        }


def match_as_json(match: Match) -> dict[str, Any]:
    """A match for programs: changes as they would stand in the topic."""
    first = match.changes[0]
    told: dict[str, Any] = {
        "kind": match.kind,
        "account": first.account,
        "subject": first.subject,
        "then": [asdict(change) for change in match.then],
        "now": [asdict(change) for change in match.now],
    }
    if match.kind == "alter" and len(match.then) == len(match.now) == 1:
        told["differing"] = differing(match.then[0], match.now[0])
    return told
