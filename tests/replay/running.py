"""How the tests replay a random log without a broker."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from processors.consolidator import Consolidator
from processors.rules import AccountRules, read_rules
from replay.selection import Selection
from replay.walk import Bounds, RangeWalk
from schemas.change import EntityChange
from schemas.encoding import encode
from tests.processors.running import core_for, rules_of
from tests.processors.strategies import Log

ALL = Selection()


def rules_before(log: Log, position: int) -> dict[str, AccountRules]:
    """What tradewind.rules says of the records before an index of the log."""
    rules = rules_of(log)
    for item in core_for(log).feed(log.records[:position]).rules:
        rules[item.account] = read_rules(item.rules, max_ceiling_ms=log.times.max_ceiling_ms)
    return rules


def restored(
    log: Log, position: int, selection: Selection = ALL, given: Mapping[str, AccountRules] | None = None
) -> Consolidator:
    """As `processors.restore`: the state before an index of the log, from the stretch that it depends on."""
    start = position
    if position:
        bound = log.records[position - 1].timestamp - log.times.restore_ms
        start = next(index for index, record in enumerate(log.records) if record.timestamp >= bound)
    core = core_for(log, rules_before(log, start) if given is None else given)
    core.follow(selection.see(log.records[start:position]))
    return core


def offset_at(log: Log, index: int) -> int:
    """Offset of the record at an index; beyond the last one, that of the next."""
    return log.records[index].offset if index < len(log.records) else log.records[-1].offset + 1


def replayed(
    log: Log,
    first: int,
    second: int,
    limit: int,
    *,
    selection: Selection = ALL,
    given: Mapping[str, AccountRules] | None = None,
    types: Collection[str] = (),
    batch: int = 3,
    resume_at: int | None = None,
) -> tuple[list[EntityChange], int]:
    """The changes of a replay of the records `first` to `second`, never beyond `limit`, and how many windows stay open.

    Args:
        log: of one partition.
        first: index, as are the others.
        second: of the first record that is not in the range.
        limit: where the live run stands.
        selection: what the core sees.
        given: rules instead of those of then.
        types: of changes.
        batch: records at a time.
        resume_at: die at the first position from this index on, and go on from there with nothing else.
    """
    bounds = Bounds(offset_at(log, first), offset_at(log, second))
    walk = RangeWalk(restored(log, first, selection, given), bounds, types)
    found: list[EntityChange] = []
    at = first
    while at < limit and not walk.is_over(offset_at(log, at)):
        until = min(at + batch, limit)
        found += walk.feed(selection.see(log.records[at:until]))
        at = until
        if resume_at is not None and at >= resume_at:
            walk = RangeWalk(restored(log, at, selection, given), bounds, types)
            resume_at = None
    return found, walk.still_open()


def as_bytes(changes: Sequence[EntityChange]) -> list[bytes]:
    """To Python 1, 1.0 and True are equal, to a reader of the topic not."""
    return [encode(change) for change in changes]
