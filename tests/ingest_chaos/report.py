"""What a run says at its end, line by line, and whether it was good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.ingest_chaos.changes import InChanges
from tests.ingest_chaos.ingest_log import Told
from tests.ingest_chaos.verdict import Verdict

EVENTS_SHOWN = 12
LINE_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that a run found out."""

    scenario: str
    verdict: Verdict
    changes: InChanges
    spooled: int
    spool_needed: bool
    crashes: Sequence[int]
    exit_code: int | None
    noted: Sequence[str]
    told: Told
    figures: Sequence[str]
    """Lines for people."""

    def problems(self) -> list[str]:
        """Why this run is no success; empty if it is one."""
        found = list(self.noted)
        if not self.verdict.good:
            found.append("the raw log is not what the answers promised")
        if not self.changes.good:
            found.append("a message does not count exactly once")
        if not self.verdict.accepted:
            found.append("proved nothing: no webhook was accepted")
        if self.spool_needed and not self.spooled:
            found.append("proved nothing: no webhook was spooled")
        if self.crashes:
            found.append(f"ingest ended by itself: {list(self.crashes)}")
        if self.exit_code != 0:
            found.append(f"ingest did not end with 0 after SIGTERM, but with {self.exit_code}")
        if self.told.secrets:
            found.append(f"{self.told.secrets} lines of ingest's log tell a secret")
        if self.told.crashed or self.told.tracebacks:
            found.append(f"ingest's log holds {self.told.crashed} crashes and {self.told.tracebacks} tracebacks")
        return found

    def lines(self) -> list[str]:
        """The report; the last line is for scripts."""
        verdict, problems = self.verdict, self.problems()
        told = [*self.figures, self._more(), self.changes.line(), *verdict.examples, *self.changes.examples]
        told += [f"  {times} x {event}" for event, times in self.told.events.most_common(EVENTS_SHOWN)]
        if problems:
            told += ["ingest's last errors:", *(_shortened(line) for line in self.told.errors)]
            told += ["the end of ingest's log:", *(_shortened(line) for line in self.told.tail)]
        told += [f"FAILED: {problem}" for problem in problems]
        counted = [
            f"ingest-chaos: scenario {self.scenario}",
            f"sent {verdict.sent}",
            f"answered 2xx {verdict.accepted}",
            f"spooled {self.spooled}",
            f"refused {verdict.refused}",
            f"missing {verdict.missing}",
            f"unexplained repeats {verdict.unexplained_repeats}",
            f"out of order {verdict.out_of_order}",
            f"same receipt twice {verdict.same_receipt_twice}",
            f"answers over 5 s {verdict.late}",
        ]
        return [*told, ", ".join(counted)]

    def _more(self) -> str:
        verdict = self.verdict
        faults = f"never sent {verdict.strangers}, without a receipt {verdict.without_receipt}"
        faults += f", receipts shared {verdict.shared_receipts}, wrong answers {verdict.wrong_answers}"
        allowed = f"resent and stored twice {verdict.resent_twice}, refused but stored {verdict.refused_but_stored}"
        return f"{verdict.records} records in the log: {faults}; {allowed}"


def _shortened(line: str) -> str:
    return f"  {line}" if len(line) <= 2 * LINE_SHOWN else f"  {line[:LINE_SHOWN]} ... {line[-LINE_SHOWN:]}"
