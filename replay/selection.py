"""Pure: what a replay gives the core to see of the log: of what does not concern it, no more than the time."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from schemas.record import LogRecord, Record, header
from schemas.topics import CONTROL_HEADER, CONTROL_RULES, CONTROL_TICK

_TICK = ((CONTROL_HEADER, CONTROL_TICK),)


class Selection:
    """Puts ticks in the place of records that only move time.

    Args:
        accounts: all others' records only move time; empty: none do.
        fixed_rules: control records with rules only move time: the rules that were given hold from beginning to end.
    """

    def __init__(self, accounts: Collection[str] = (), *, fixed_rules: bool = False) -> None:
        self._keys = frozenset(account.encode() for account in accounts)
        self._fixed_rules = fixed_rules

    def see(self, batch: Sequence[Record]) -> Sequence[Record]:
        """The records, as the core is to see them."""
        keys, fixed_rules = self._keys, self._fixed_rules
        if not keys and not fixed_rules:
            return batch
        seen: list[Record] = []
        before: int | None = None
        for record in batch:
            if keys and record.key not in keys:
                # The second of two moments that are the same changes nothing.
                if record.timestamp != before:
                    seen.append(_tick(record))
            elif fixed_rules and record.headers and header(record, CONTROL_HEADER) == CONTROL_RULES:
                seen.append(_tick(record))
            else:
                seen.append(record)
            before = record.timestamp
        return seen


def _tick(record: Record) -> LogRecord:
    return LogRecord(offset=record.offset, timestamp=record.timestamp, headers=_TICK)
