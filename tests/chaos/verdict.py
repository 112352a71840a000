"""Pure: what was found on a topic against what must be there: missing, extra, wrong, repeated, out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.change import EntityChange, cloud_event_headers
from schemas.deadletter import HEADER_PREFIX
from schemas.encoding import decode, encode
from schemas.record import LogRecord, header
from schemas.rules import RulesInForce
from tests.oracle import Expected

EXAMPLES = 10
_BYTES_SHOWN = 400
Content = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
"""Key, value and headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures of one topic. `expected` and `got` count identities, the other four count records."""

    expected: int = 0
    got: int = 0
    missing: int = 0
    extra: int = 0
    wrong: int = 0
    repeats: int = 0
    examples: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether everything is as promised."""
        return self.missing == self.extra == self.wrong == 0

    def figures(self) -> str:
        """One line for people and scripts."""
        counted = f"expected {self.expected}, got {self.got}, missing {self.missing}, extra {self.extra}"
        return f"{counted}, wrong {self.wrong}, repeats {self.repeats}"


@dataclass(slots=True)
class _Tally:
    missing: int = 0
    extra: int = 0
    wrong: int = 0
    repeats: int = 0
    examples: list[str] = field(default_factory=list)


def judge_changes(wanted: Iterable[EntityChange], found: Sequence[LogRecord]) -> Verdict:
    """Compare servicetrade.changes, its bytes, headers and order per entity, with what the oracle expects."""
    pairs = [(change.id, content_of(change)) for change in wanted]
    verdict = _judge(pairs, found, identity=_change_id, content=_whole)
    disorder = _disorder([record for record in found if _change_id(record) is not None])
    return replace(
        verdict,
        wrong=verdict.wrong + len(disorder),
        examples=(*verdict.examples, *disorder)[:EXAMPLES],
    )


def judge_dead_letters(
    raw: Mapping[int, Sequence[LogRecord]], results: Mapping[int, Expected], found: Sequence[LogRecord]
) -> Verdict:
    """Compare servicetrade.deadletters: original key, value and headers; the reason's wording is the product's own."""
    pairs: list[tuple[Hashable, Content]] = []
    for partition, result in results.items():
        by_offset = {record.offset: record for record in raw[partition]}
        pairs += [
            (("processors", partition, offset, elements), _whole(by_offset[offset])) for offset, elements in result.dead
        ]
    return _judge(pairs, found, identity=_letter_id, content=_without_reason)


def judge_rules(
    raw: Mapping[int, Sequence[LogRecord]], results: Mapping[int, Expected], found: Sequence[LogRecord]
) -> Verdict:
    """Compare tradewind.rules: one copy, or more, of each rules record that took effect."""
    pairs: list[tuple[Hashable, Content]] = []
    for partition, result in results.items():
        by_offset = {record.offset: record for record in raw[partition]}
        for offset, account, version in result.adopted:
            record = by_offset[offset]
            entry = RulesInForce(
                account=account,
                version=version,
                topic=record.topic,
                partition=partition,
                offset=offset,
                rules=decode(record.value or b""),
            )
            pairs.append(((partition, offset), (account.encode(), encode(entry), ())))
    return _judge(pairs, found, identity=_rules_id, content=lambda record: (record.key, record.value, ()))


def content_of(change: EntityChange) -> Content:
    """The record that a change must stand in."""
    return (change.key.encode(), encode(change), tuple(cloud_event_headers(change)))


def _judge(
    pairs: Sequence[tuple[Hashable, Content]],
    found: Sequence[LogRecord],
    *,
    identity: Callable[[LogRecord], Hashable | None],
    content: Callable[[LogRecord], Content],
) -> Verdict:
    wanted, tally = dict(pairs), _Tally()
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            tally.wrong += times - 1
            tally.examples.append(f"wrong: {name} is expected {times} times")
    first: dict[Hashable, LogRecord] = {}
    for record in found:
        name = identity(record)
        if name is None or name not in wanted:
            tally.extra += 1
            tally.examples.append(f"extra: {_where(record)} {name}: {_shown(_whole(record))}")
            continue
        tally.repeats += name in first
        told = _difference(record, content(record), wanted[name], first.setdefault(name, record))
        if told is not None:
            tally.wrong += 1
            tally.examples.append(f"wrong: {_where(record)} {name}: {told}")
    for name, awaited in wanted.items():
        if name not in first:
            tally.missing += 1
            tally.examples.append(f"missing: {name}: {_shown(awaited)}")
    names = {identity(record) or _where(record) for record in found}
    return Verdict(
        expected=len(wanted),
        got=len(names),
        missing=tally.missing,
        extra=tally.extra,
        wrong=tally.wrong,
        repeats=tally.repeats,
        examples=tuple(tally.examples[:EXAMPLES]),
    )


def _difference(record: LogRecord, content: Content, wanted: Content, first: LogRecord) -> str | None:
    """Say how a record differs from what is wanted, or a repeat from the first copy."""
    if content != wanted:
        return f"{_shown(content)}\n    instead of {_shown(wanted)}"
    if _whole(record) != _whole(first):
        return f"{_shown(_whole(record))}\n    repeats {_where(first)} unequally: {_shown(_whole(first))}"
    return None


def _disorder(found: Sequence[LogRecord]) -> list[str]:
    """Say where, per key, first copies do not stand in one partition in the order of their sequence."""
    seen: set[bytes] = set()
    last: dict[bytes, tuple[bytes, LogRecord]] = {}
    told = []
    for record in sorted(found, key=lambda record: (record.partition, record.offset)):
        name, sequence, key = header(record, "ce_id") or b"", header(record, "ce_sequence") or b"", record.key or b""
        if name in seen:
            continue
        seen.add(name)
        before, earlier = last.get(key, (b"", record))
        if sequence <= before:
            told.append(f"wrong: {_where(record)} {key!r} has sequence {sequence!r} after {before!r}")
        if earlier.partition != record.partition:
            told.append(f"wrong: {_where(record)} {key!r} stands in partition {earlier.partition} too")
        last[key] = (sequence, record)
    return told


def _change_id(record: LogRecord) -> str | None:
    name = header(record, "ce_id")
    return None if name is None else name.decode("utf-8", "replace")


def _letter_id(record: LogRecord) -> Hashable | None:
    reason = {
        name: value.decode("utf-8", "replace") for name, value in record.headers if name.startswith(HEADER_PREFIX)
    }
    try:
        found = {name: reason[HEADER_PREFIX + name] for name in ("stage", "partition", "offset", "elements")}
        return (found["stage"], int(found["partition"]), int(found["offset"]), found["elements"])
    except (KeyError, ValueError):
        return None


def _rules_id(record: LogRecord) -> Hashable | None:
    try:
        data = decode(record.value or b"")
        return (int(data["partition"]), int(data["offset"]))
    except (KeyError, TypeError, ValueError):
        return None


def _whole(record: LogRecord) -> Content:
    return (record.key, record.value, record.headers)


def _without_reason(record: LogRecord) -> Content:
    kept = tuple((name, value) for name, value in record.headers if not name.startswith(HEADER_PREFIX))
    return (record.key, record.value, kept)


def _where(record: LogRecord) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"


def _shown(content: Content) -> str:
    key, value, headers = content
    text = f"{key!r} {value!r} {list(headers)!r}"
    return text if len(text) <= _BYTES_SHOWN else f"{text[:_BYTES_SHOWN]}... ({len(text)} characters)"
