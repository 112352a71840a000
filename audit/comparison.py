"""Pure: compares what the raw log has to give with what stands in the topics, record by record and byte for byte.

Of an expected record only its identity, its place and a fingerprint of its bytes are kept, so that a log of millions
of notifications can be compared in memory.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Mapping

from audit.records import (
    FINGERPRINT_BYTES,
    WHATS,
    Found,
    Outgoing,
    PartitionBounds,
    What,
    differing,
    fingerprint,
)
from audit.report import KINDS, AccountFigures, Compared, Difference, Kind

_FOUND, _WRONG, _AHEAD, _REMOVABLE = 1, 2, 4, 8
_NONE = -1
_AT_LEAST_KEPT = 64


class _Expected:
    """A table in columns: a row takes some 60 bytes, and its entry in the index by identity some 150."""

    __slots__ = ("entity", "flags", "index", "offset", "partition", "prints", "rows", "what")

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        """Row by identity, in the order of the rows."""
        self.prints = bytearray()
        self.flags = bytearray()
        self.what = bytearray()
        self.partition, self.offset = array("I"), array("Q")
        self.index, self.entity = array("I"), array("I")


class Comparison:
    """Takes what the log has to give, then what the topics hold, and knows the differences.

    Args:
        epoch: the operator's log epoch.
        accounts: compare only these; empty: all.
        keep: how many differences are kept, those that come first in the log; None: all. All are counted.
        kept_from_ms: of these kinds retention may have removed what was sent up to that time.
    """

    def __init__(
        self,
        *,
        epoch: int,
        accounts: Collection[str] = (),
        keep: int | None = None,
        kept_from_ms: Mapping[What, int] | None = None,
    ) -> None:
        self.figures: defaultdict[str, AccountFigures] = defaultdict(AccountFigures)
        self.counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.bounds: dict[int, PartitionBounds] = {}
        """Per partition of the raw log."""
        self.homes: defaultdict[str, set[int]] = defaultdict(set)
        """Per account, the partitions of the raw log that it was seen in."""
        self._epoch = epoch
        self._accounts = frozenset(accounts)
        self._keep = keep
        self._kept_from_ms = kept_from_ms or {}
        self._expected = _Expected()
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._last = array("q")
        """Per name, the row of the change that was the last to appear first."""
        self._differences: list[Difference] = []

    def wants(self, account: str) -> bool:
        """Whether the account is compared."""
        return not self._accounts or account in self._accounts

    # -- what has to be there --------------------------------------------------------------------------------------

    def expect(self, outgoing: Outgoing, partition: int, *, ahead: bool) -> None:
        """Note a record that the log gives; `ahead`: from beyond the committed offset, it need not be there yet."""
        account = outgoing.name.partition("/")[0]
        if not self.wants(account):
            return
        if outgoing.what == "change" and not self.bounds[partition].judges(outgoing.offset):
            return  # if it is there it is counted as unjudged
        compared = self.figures[account].compared[outgoing.what]
        if ahead:
            compared.ahead += 1
        else:
            compared.expected += 1
        kept_from_ms = self._kept_from_ms.get(outgoing.what)
        removable = kept_from_ms is not None and outgoing.sent_after_ms <= kept_from_ms
        table = self._expected
        table.rows[outgoing.identity] = len(table.flags)
        table.prints += outgoing.print
        table.flags.append(_AHEAD * ahead | _REMOVABLE * removable)
        table.what.append(WHATS.index(outgoing.what))
        table.partition.append(partition)
        table.offset.append(outgoing.offset)
        table.index.append(outgoing.index)
        table.entity.append(self._number(outgoing.name))

    def unbalanced(self, partition: int, notifications: int) -> None:
        """Note that the core itself has lost count of notifications of a partition."""
        detail = f"the core cannot account for {notifications} notifications"
        self._note(
            Difference(kind="unbalanced", what="change", account="", partition=partition, offset=None, detail=detail)
        )

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
            self._last.append(_NONE)
        return number

    # -- what is there ---------------------------------------------------------------------------------------------

    def found(self, found: Found) -> None:
        """Compare a record that stands in a topic; each partition of a topic in offset order."""
        if found.replayed:
            if self.wants(found.account):
                self.figures[found.account].compared[found.what].replayed += 1
            return
        row = self._expected.rows.get(found.identity)
        if row is None:
            if self.wants(found.account):
                self._unexpected(found)
            return
        table, record = self._expected, found.record
        compared = self._compared(row)
        expected = table.prints[row * FINGERPRINT_BYTES : (row + 1) * FINGERPRINT_BYTES]
        parts = differing(expected, fingerprint(record.key, record.value, record.headers))
        if parts and self._of_an_older_log(found):
            compared.unjudged += 1
            return
        flags = table.flags[row]
        if parts:
            table.flags[row] |= _WRONG
            compared.wrong += 1
            verb = "differs" if len(parts) == 1 and parts != ["headers"] else "differ"
            self._note(self._of_row("wrong", found.identity, row, found, f"{' and '.join(parts)} {verb}"))
        elif flags & _FOUND:
            compared.repeats += 1
        else:
            table.flags[row] |= _FOUND
            if flags & _AHEAD:
                compared.ahead_found += 1
            else:
                compared.found += 1
        # What was redriven comes after whatever came meanwhile.
        if found.what == "change" and not found.redriven and not flags & (_FOUND | _WRONG):
            self._check_order(row, found, compared)

    def _check_order(self, row: int, found: Found, compared: Compared) -> None:
        table = self._expected
        entity = table.entity[row]
        before = self._last[entity]
        if before == _NONE or (table.offset[before], table.index[before]) < (table.offset[row], table.index[row]):
            self._last[entity] = row
            return
        compared.out_of_order += 1
        detail = f"it appears after the change that was opened at offset {table.offset[before]}"
        self._note(self._of_row("out of order", found.identity, row, found, detail))

    def _unexpected(self, found: Found) -> None:
        compared = self.figures[found.account].compared[found.what]
        if self._cannot_be_judged(found):
            compared.unjudged += 1
            return
        compared.extra += 1
        partition = found.partition
        if partition is None and len(self.homes.get(found.account, ())) == 1:
            (partition,) = self.homes[found.account]
        self._note(
            Difference(
                kind="extra",
                what=found.what,
                account=found.account,
                subject=found.subject,
                id=found.id,
                partition=partition,
                offset=found.offset,
                index=found.index,
                found=(found.record.partition, found.record.offset),
                detail=found.fault,
            )
        )

    def _cannot_be_judged(self, found: Found) -> bool:
        if found.offset is None:
            return False
        if found.what != "change":
            bounds = None if found.partition is None else self.bounds.get(found.partition)
            return bounds is not None and (found.offset < bounds.beginning or self._of_an_older_log(found))
        if found.epoch < self._epoch:
            return True
        # An account of which retention left nothing may have been in any partition that it cut.
        homes = self.homes.get(found.account) or self.bounds.keys()
        return any(not self.bounds[home].judges(found.offset) for home in homes if self.bounds[home].beginning)

    def _of_an_older_log(self, found: Found) -> bool:
        # Dead letters and copies of rules name an offset but no epoch: those of an older log were sent before this one.
        bounds = None if found.partition is None else self.bounds.get(found.partition)
        if self._epoch == 1 or bounds is None:
            return False
        return bounds.first_ms is None or found.record.timestamp < bounds.first_ms

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> list[Difference]:
        """Count what is not there by now as missing.

        Returns:
            The differences in the order of the log, as many as are kept.
        """
        flags = self._expected.flags
        for identity, row in self._expected.rows.items():
            if flags[row] & (_FOUND | _WRONG | _AHEAD):
                continue
            compared = self._compared(row)
            if flags[row] & _REMOVABLE:
                compared.unjudged += 1
                continue
            compared.missing += 1
            self._note(self._of_row("missing", identity, row))
        self._keep_first(self._keep)
        return self._differences

    def _compared(self, row: int) -> Compared:
        table = self._expected
        account = self._names[table.entity[row]].partition("/")[0]
        return self.figures[account].compared[WHATS[table.what[row]]]

    def _of_row(
        self, kind: Kind, identity: bytes, row: int, found: Found | None = None, detail: str = ""
    ) -> Difference:
        table = self._expected
        account, _, subject = self._names[table.entity[row]].partition("/")
        what = WHATS[table.what[row]]
        return Difference(
            kind=kind,
            what=what,
            account=account,
            subject=subject,
            id=identity.hex() if what == "change" else "",
            partition=table.partition[row],
            offset=table.offset[row],
            index=table.index[row],
            found=None if found is None else (found.record.partition, found.record.offset),
            detail=detail,
        )

    def _note(self, difference: Difference) -> None:
        self.counts[difference.kind] += 1
        self._differences.append(difference)
        if self._keep is not None and len(self._differences) > _AT_LEAST_KEPT + 2 * self._keep:
            self._keep_first(self._keep)

    def _keep_first(self, number: int | None) -> None:
        self._differences.sort(key=Difference.place)
        if number is not None:
            del self._differences[number:]
