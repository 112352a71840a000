"""What a run says at its end, line by line, and whether it was good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.record import header
from schemas.topics import CONTROL_HEADER
from tests.chaos.bounds import bindings, unbalanced
from tests.chaos.reading import Judgement, Picture
from tests.chaos.verdict import EXAMPLES
from tests.chaos.workers import Exit

LONG_S = 180.0
"""A run of at least this length has to be hard: every rule bound, and at least LEAST_FAULTS."""
LEAST_FAULTS = 12
LINE_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that a run found out."""

    seconds: float
    faults: int
    settled: bool
    sent: int
    ambiguous: int
    kept: Mapping[tuple[int, int], bytes]
    exits: Sequence[Exit]
    broker_deaths: Sequence[int]
    picture: Picture
    judgement: Judgement

    def problems(self) -> list[str]:
        """Why this run is no success; empty if it is one."""
        found = [*self.lost(), *unbalanced(self.judgement.results)]
        if not self.settled:
            found.append(f"it did not settle: {self.judgement.open} notifications are in open windows")
        if not self.judgement.good:
            found.append("what came out is not what the oracle expects")
        if self.seconds >= LONG_S:
            found += [f"not tried: {name}" for name, times in bindings(self.judgement.results).items() if not times]
            if self.faults < LEAST_FAULTS:
                found.append(f"{self.faults} faults are fewer than {LEAST_FAULTS}")
        return found

    def lost(self) -> list[str]:
        """Acknowledged records that the log does not hold, up to ten."""
        held = {
            (partition, record.offset): record.value
            for partition, records in self.picture.webhooks.items()
            for record in records
        }
        gone = [place for place, value in self.kept.items() if held.get(place) != value]
        return [f"acknowledged, but not in the log: partition {one[0]} offset {one[1]}" for one in gone[:EXAMPLES]]

    def lines(self) -> list[str]:
        """The report; the last line is for scripts."""
        judged = self.judgement
        figures = judged.changes
        told = [
            *(_exit_line(end) for end in self.exits[:EXAMPLES]),
            f"unexpected exits {len(self.exits)}",
        ]
        if self.broker_deaths:
            told.append(f"brokers that ended by themselves: {list(self.broker_deaths)}")
        told += [
            self._load_line(),
            "bound: " + ", ".join(f"{name} {times}" for name, times in bindings(judged.results).items()),
            *figures.examples,
            *judged.dead_letters.examples,
            *judged.rules.examples,
            f"dead letters: {judged.dead_letters.figures()}",
            f"rules: {judged.rules.figures()}",
            *(f"FAILED: {problem}" for problem in self.problems()),
        ]
        notifications = sum(result.notifications for result in judged.results.values())
        last = f"chaos: faults {self.faults}, notifications {notifications}, {figures.figures()}"
        return [*told, last]

    def _load_line(self) -> str:
        records = [record for records in self.picture.webhooks.values() for record in records]
        ticks = sum(header(record, CONTROL_HEADER) == b"tick" for record in records)
        per_s = sum(result.notifications for result in self.judgement.results.values()) / self.seconds
        sends = f"{self.sent} records sent, {len(self.kept)} acknowledged, {self.ambiguous} of unknown end"
        return f"load: {sends}; {len(records)} in the log, {ticks} of them ticks; {per_s:.0f} notifications/s"


def _exit_line(end: Exit) -> str:
    return f"  {end.at_s:.1f} s  {end.name} ended with {end.code}: {end.last_line[:LINE_SHOWN]}"
