"""Pure: what an audit found: differences, figures per account, the verdict in one sentence, and all of it as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from audit.records import WHATS, What

Kind = Literal["missing", "extra", "wrong", "out of order", "unbalanced"]
KINDS: tuple[Kind, ...] = ("missing", "extra", "wrong", "out of order", "unbalanced")
_NOWHERE = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One record that is not as the log has it."""

    kind: Kind
    what: What
    account: str
    subject: str = ""
    """`type/id` of a change."""
    id: str = ""
    """Id of a change."""
    partition: int | None
    """Of the raw log, and the offset of the opening notification or of the record in it; None: unknown."""
    offset: int | None
    index: int = 0
    found: tuple[int, int] | None = None
    """Partition and offset of the record in its own topic; None if it is missing."""
    detail: str = ""

    def place(self) -> tuple[int, int, int]:
        """Order of differences: by place in the raw log, those without one last."""
        if self.partition is None or self.offset is None:
            return (_NOWHERE, 0, 0)
        return (self.partition, self.offset, self.index)


@dataclass(slots=True)
class Compared:
    """Figures of one kind of record; `expected` is found + missing + those that are only there with other bytes."""

    expected: int = 0
    """From up to the committed offset."""
    found: int = 0
    missing: int = 0
    extra: int = 0
    wrong: int = 0
    """Records under a known identity with other bytes."""
    out_of_order: int = 0
    repeats: int = 0
    """Further copies, byte for byte the same; those that were redriven have more headers."""
    ahead: int = 0
    """From beyond the committed offset, there already or not."""
    ahead_found: int = 0
    replayed: int = 0
    """Made by replays under other rules."""
    unjudged: int = 0
    """What cannot be judged, because retention removed part of the log or of the topic, or from an older log."""


@dataclass(slots=True)
class AccountFigures:
    """What the log up to the committed offset has of one account, and how the topics compare."""

    notifications: int = 0
    merged: int = 0
    duplicates: int = 0
    filtered: int = 0
    quarantined: int = 0
    compared: dict[What, Compared] = field(default_factory=lambda: {what: Compared() for what in WHATS})

    @property
    def still_open(self) -> int:
        """Notifications in windows that are open at the committed offset."""
        return self.notifications - self.merged - self.duplicates - self.filtered - self.quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole audit."""

    topics: Mapping[What | Literal["webhooks"], str]
    """Full names."""
    group: str
    partitions: int
    """Of the raw log."""
    committed: bool
    """Whether the group has committed anything at all."""
    figures: Mapping[str, AccountFigures]
    """Per account; the empty name stands for records whose key is no account."""
    counts: Mapping[Kind, int]
    differences: Sequence[Difference]
    """In the order of the raw log; all that were counted, or the first of them."""

    @property
    def agrees(self) -> bool:
        """Nothing differs."""
        return not any(self.counts.values())

    def total(self, name: str, *whats: What) -> int:
        """A figure of Compared, over all accounts and the kinds named (none: all)."""
        return sum(getattr(one.compared[what], name) for one in self.figures.values() for what in whats or WHATS)

    def verdict(self) -> str:
        """The audit in one sentence."""
        aside = ", ".join(
            f"{number:,} {words}"
            for number, words in (
                (self.total("ahead"), "ahead of the commit"),
                (self.total("unjudged"), "not judged"),
                (self.total("replayed"), "made by replays under other rules"),
            )
            if number
        )
        aside = f" ({aside})" if aside else ""
        if not self.agrees:
            counted = ", ".join(f"{number:,} {kind}" for kind, number in self.counts.items() if number)
            first = f": first at {self.where(self.differences[0])}" if self.differences else ""
            return f"audit: {counted}{first}{aside}"
        if not self.committed:
            return f"audit: the group {self.group} has committed nothing, so nothing has to be there yet{aside}"
        notifications = sum(one.notifications for one in self.figures.values())
        return (
            f"audit: {self.partitions:,} partitions, {notifications:,} notifications, "
            f"{self.total('expected', 'change'):,} changes: all there, all equal{aside}"
        )

    def where(self, difference: Difference) -> str:
        """A difference's place in the raw log, and whose it is."""
        name = " ".join(part for part in (difference.account, difference.subject) if part)
        whose = f" ({name})" if name else ""
        if difference.partition is None and difference.found is not None:
            return f"{self._found(difference)}{whose}"
        offset = "" if difference.offset is None else f" offset {difference.offset}"
        index = f" index {difference.index}" if difference.index else ""
        return f"{self.topics['webhooks']}[{difference.partition}]{offset}{index}{whose}"

    def sentence(self, difference: Difference) -> str:
        """A difference in one line."""
        what = f"{difference.what} {difference.id}".rstrip()
        standing = f", stands at {self._found(difference)}" if difference.found is not None else ""
        detail = f": {difference.detail}" if difference.detail else ""
        return f"{what}, {self.where(difference)}{standing}{detail}"

    def _found(self, difference: Difference) -> str:
        partition, offset = difference.found or (None, None)
        return f"{self.topics[difference.what]}[{partition}] offset {offset}"

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "agrees": self.agrees,
            "verdict": self.verdict(),
            "group": self.group,
            "topics": dict(self.topics),
            "partitions": self.partitions,
            "counts": dict(self.counts),
            "accounts": {
                account: {**asdict(figures), "still_open": figures.still_open}
                for account, figures in sorted(self.figures.items())
            },
            "differences": [asdict(difference) for difference in self.differences],
        }
