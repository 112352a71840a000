"""Pure: runs the core over one partition's log again and tells the comparison what has to be in the topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from audit.comparison import Comparison
from audit.records import PartitionBounds, account_of, outgoing
from processors.consolidator import Consolidator
from processors.rules import AccountRules
from processors.window import Origin
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord


class LogWalk:
    """One partition of the raw log, from its beginning.

    Args:
        comparison: told of every record that the log gives.
        origin: the partition.
        times: settings of the pipeline.
        rules: in force at the beginning, per account.
        beginning: offset of the first record that retention has left.
        committed: the group's committed offset, or None: nothing is committed.
    """

    def __init__(
        self,
        comparison: Comparison,
        origin: Origin,
        times: PipelineTimes,
        rules: Mapping[str, AccountRules],
        *,
        beginning: int,
        committed: int | None,
    ) -> None:
        self._comparison = comparison
        self._core = Consolidator(origin, times, rules)
        self._partition = origin.partition
        self._times = times
        self._committed = beginning if committed is None else committed
        self._bounds = PartitionBounds(beginning, None if beginning else 0)
        comparison.bounds[origin.partition] = self._bounds
        self._now_ms = 0
        self._accounts: dict[bytes | None, str] = {}

    def feed(self, batch: Sequence[LogRecord]) -> None:
        """Consume records in offset order."""
        if self._bounds.first_ms is None and batch:
            self._bounds.first_ms = self._now_ms = batch[0].timestamp
        if self._bounds.judged_from is None:
            self._look_for_certainty(batch)
        # In stretches of one key, so that the core's ledger, which is the partition's, can be told by account.
        for (key, ahead), stretch in groupby(batch, lambda record: (record.key, record.offset >= self._committed)):
            self._stretch(self._account(key), list(stretch), ahead=ahead)

    def end(self) -> None:
        """All was read: what went in must be somewhere."""
        if lost := self._core.ledger.imbalance(self._core.open_notifications):
            self._comparison.unbalanced(self._partition, lost)

    def _account(self, key: bytes | None) -> str:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = account_of(key)
            if account:
                self._comparison.homes[account].add(self._partition)
        return account

    def _stretch(self, account: str, records: list[LogRecord], *, ahead: bool) -> None:
        core, comparison = self._core, self._comparison
        ledger = core.ledger
        before = (ledger.notifications, ledger.duplicates, ledger.filtered, ledger.quarantined)
        outcome = core.feed(records)
        if not ahead:
            ledger = core.ledger
            if ledger.notifications > before[0] and comparison.wants(account):
                figures = comparison.figures[account]
                figures.notifications += ledger.notifications - before[0]
                figures.duplicates += ledger.duplicates - before[1]
                figures.filtered += ledger.filtered - before[2]
                figures.quarantined += ledger.quarantined - before[3]
            for change in outcome.changes:
                if comparison.wants(change.account):
                    comparison.figures[change.account].merged += change.notifications
        for record in outgoing(outcome, max_ceiling_ms=self._times.max_ceiling_ms):
            comparison.expect(record, self._partition, ahead=ahead)

    def _look_for_certainty(self, batch: Sequence[LogRecord]) -> None:
        """Find where the state no longer depends on what retention removed.

        Nobody knows what time the partition had before `first_ms`; it was ahead of it by less than a step, that is
        by `max_ceiling` at most. What it remembered and merged then is gone a horizon and a memory later.
        """
        first_ms = self._bounds.first_ms or 0
        for record in batch:
            if record.timestamp < self._now_ms - self._times.max_ceiling_ms:
                known = self._now_ms > first_ms + self._times.max_ceiling_ms
                self._now_ms = record.timestamp
            else:
                self._now_ms = max(self._now_ms, record.timestamp)
                known = self._now_ms > first_ms + self._times.restore_ms
            if known:
                self._bounds.judged_from = record.offset
                return
