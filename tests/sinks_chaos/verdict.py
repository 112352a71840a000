"""Pure: holds rows, deliveries and dead letters against what was put into the topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.sinks_chaos.ledger import Entity, Entry, Original, Place

EXAMPLES = 8
SHOWN = 300


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What is wrong, by kind, with a few examples of each for people."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts.total()

    def tell(self, kind: str, sentence: str) -> None:
        """Count one more that is wrong."""
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {sentence[:SHOWN]}")

    def add(self, other: Verdict) -> None:
        """Take over what another one found."""
        self.counts.update(other.counts)
        self.examples += other.examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table `entities`; `data` is None where nothing has been read yet."""

    data: Any
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that a subscriber got, in the order in which they came."""

    change_id: str
    body: bytes
    """A hash of it."""
    accepted: bool
    """Whether it was answered 2xx."""
    fault: str | None = None
    """What is wrong with its signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter: who gave up on which record, and the bytes that it kept."""

    stage: str
    place: Place
    original: Original
    told: str = ""
    """Error and message, for people."""


def judge_rows(expected: Mapping[Entity, Mapping[str, Any] | None], rows: Mapping[Entity, Row]) -> Verdict:
    """Every row must be what ServiceTrade shows; of what is deleted, marked so."""
    verdict = Verdict()
    for entity, wanted in expected.items():
        row, name = rows.get(entity), "/".join(entity)
        if row is None or (row.data is None and not row.deleted):
            verdict.tell("row missing", f"{name} has no row" if row is None else f"{name} was never read")
        elif wanted is None:
            if not row.deleted:
                verdict.tell("row not marked", f"{name} is deleted, its row is not marked")
        elif row.deleted:
            verdict.tell("row marked", f"{name} lives, its row is marked as deleted")
        elif row.data != wanted:
            verdict.tell("row wrong", f"{name}: {_difference(wanted, row.data)}")
    for entity, row in rows.items():
        if entity not in expected and (row.data is not None or row.deleted):
            verdict.tell("row of nothing", f"{'/'.join(entity)} has a row, and should have none")
    return verdict


def _difference(wanted: Mapping[str, Any], found: Any) -> str:
    if not isinstance(found, dict):
        return f"the row holds {found!r}"
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    return ", ".join(f"{name} is {found.get(name)!r}, not {wanted.get(name)!r}" for name in names)


def judge_subscriber(name: str, wanted: Sequence[Entry], requests: Sequence[Request]) -> Verdict:
    """Every change at least once, of each entity in order, rightly signed, and repeats the same.

    Order is that of the first occurrences: of the first requests, and of the first that were accepted. So no request
    for a later change may come before an earlier one was accepted.
    """
    verdict, by_id = Verdict(), {entry.change_id: entry for entry in wanted}
    bodies: dict[str, bytes] = {}
    for request in requests:
        if request.fault is not None:
            verdict.tell("signature", f"{name} {request.change_id}: {request.fault}")
        if request.change_id not in by_id:
            verdict.tell("unwanted", f"{name} got {request.change_id!r}, which it does not want")
        elif bodies.setdefault(request.change_id, request.body) != request.body:
            verdict.tell("body", f"{name}: a repeat of {request.change_id} has another body")
    known = [request for request in requests if request.change_id in by_id]
    accepted = [request.change_id for request in known if request.accepted]
    for change_id in sorted(by_id.keys() - set(accepted)):
        verdict.tell("missing", f"{name} never accepted {_told(by_id[change_id])}")
    late = _late([request.change_id for request in known], by_id)
    for change_id in sorted(late | _late(accepted, by_id)):
        verdict.tell("disorder", f"{name} got {_told(by_id[change_id])} after a later change of the entity")
    return verdict


def _late(change_ids: Sequence[str], by_id: Mapping[str, Entry]) -> set[str]:
    """The changes whose first occurrence stands behind that of a later one of the same entity."""
    newest: dict[Entity, str] = {}
    late = set()
    for change_id in dict.fromkeys(change_ids):
        entry = by_id[change_id]
        if entry.sequence < newest.get(entry.entity, ""):
            late.add(change_id)
        newest[entry.entity] = max(entry.sequence, newest.get(entry.entity, ""))
    return late


def _told(entry: Entry) -> str:
    return f"{entry.change_id} ({'/'.join(entry.entity)}, {entry.sequence}, {entry.action}, {entry.place})"


def judge_letters(
    wanted: Mapping[str, Mapping[Place, Original]],
    letters: Sequence[Letter],
    allowed: Mapping[str, Collection[Place]],
) -> Verdict:
    """Each sink's dead letters must be exactly the wanted ones, with the bytes of the original; repeats are no fault.

    `allowed` are records that may be dead letters of a sink or not: it was dead itself.
    """
    verdict = Verdict()
    found = {(letter.stage, letter.place) for letter in letters}
    for sink, places in wanted.items():
        for place in places:
            if (sink, place) not in found:
                verdict.tell("dead letter missing", f"{sink}: {place}, {places[place]}")
    for letter in letters:
        if letter.place in allowed.get(letter.stage, ()):
            continue
        if letter.place not in wanted.get(letter.stage, {}):
            verdict.tell("dead letter of nothing", f"{letter.stage}: {letter.place}, {letter.told}")
        elif wanted[letter.stage][letter.place] != letter.original:
            verdict.tell("dead letter altered", f"{letter.stage}: {letter.place}, {letter.original}")
    return verdict


def judge_logins(logins: Mapping[str, int], budget: Mapping[str, int], extra: int) -> Verdict:
    """No account may log in more often than its budget and `extra` together, nor all of them taken together."""
    verdict = Verdict()
    for account, times in logins.items():
        if times > budget[account] + extra:
            verdict.tell("logins", f"{account} logged in {times} times, {budget[account]} + {extra} are allowed")
    if sum(logins.values()) > sum(budget.values()) + extra:
        verdict.tell("logins", f"{sum(logins.values())} in all, {sum(budget.values())} + {extra} are allowed")
    return verdict


def judge_held(name: str, wanted: Sequence[Entry], committed: Mapping[tuple[str, int], int]) -> Verdict:
    """The log must still hold all that a dead subscriber wants: no offset may have passed a change of it.

    `committed` is by topic and partition.
    """
    verdict = Verdict()
    for entry in wanted:
        topic, partition, offset = entry.place
        if committed.get((topic, partition), 0) > offset:
            verdict.tell("lost", f"{name} is dead, and its offset has passed {_told(entry)}")
    return verdict
