"""Collects what a run has left behind, judges it, and tells it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.ingest_chaos.ingest_log import Told, read_log
from tests.sinks_chaos.ledger import Entity, expected_rows
from tests.sinks_chaos.looking import GROUPS, committed, dead_letters
from tests.sinks_chaos.office import reads
from tests.sinks_chaos.stage import Stage
from tests.sinks_chaos.verdict import (
    Letter,
    Verdict,
    judge_held,
    judge_letters,
    judge_logins,
    judge_rows,
    judge_subscriber,
)

ROW_KINDS = ("row missing", "row not marked", "row marked", "row wrong", "row of nothing")
EVENTS_SHOWN = 12
MIRROR = "mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that a run found out."""

    summary: str
    figures: Sequence[str]
    """Lines for people."""
    verdict: Verdict
    noted: Sequence[str]
    logs: Mapping[str, Told]

    def problems(self) -> list[str]:
        """Why this run is no success; empty if it is one."""
        found = list(self.noted)
        found += [f"{count} x {kind}" for kind, count in sorted(self.verdict.counts.items())]
        for name, told in self.logs.items():
            if told.secrets:
                found.append(f"{told.secrets} lines of {name}.log tell a secret")
            if told.crashed or told.tracebacks:
                found.append(f"{name}.log holds {told.crashed} crashes and {told.tracebacks} tracebacks")
        return found

    def lines(self) -> list[str]:
        """The report; the last line is for scripts."""
        problems, told = self.problems(), [*self.figures]
        for name, log in self.logs.items():
            told += [f"  {name}: {times} x {event}" for event, times in log.events.most_common(EVENTS_SHOWN)]
            if problems:
                told += [f"  {name}'s last error: {line[:1000]}" for line in log.errors[-2:]]
        told += self.verdict.examples
        told += [f"FAILED: {problem}" for problem in problems]
        return [*told, self.summary]


async def collect(stage: Stage, settled_s: float | None, *, most_reads: float | None = None) -> Outcome:
    """Stop the sinks, read everything, and judge it.

    Args:
        stage: of the run.
        settled_s: after how many seconds nothing was behind any more, None: never.
        most_reads: per entity, where nothing went wrong on purpose; None: a run that has to have been a hard one.
    """
    for name in stage.sinks.by_name:
        await stage.sinks.retire(name)
    ledger, verdict = stage.appender.ledger, Verdict()
    shown = {one.account: await stage.office.entities(one.account) for one in stage.load.desks}

    def entity_of(entity: Entity) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = shown[entity[0]].get(f"{entity[1]}/{entity[2]}")
        return found

    rows = await stage.shelf.rows()
    verdict.add(await asyncio.to_thread(judge_rows, expected_rows(ledger, entity_of), rows))
    for one in stage.live:
        wanted = ledger.wanted_by(one.habit.types)
        verdict.add(await asyncio.to_thread(judge_subscriber, one.habit.name, wanted, one.requests))
    letters = await dead_letters(stage.kafka)
    wanted_letters = ledger.dead_letters([one.habit.name for one in stage.live])
    dead = [one.habit for one in stage.subscribers if one.habit.dead]
    allowed = {f"forward/{habit.name}": ledger.garbage.keys() for habit in dead}
    verdict.add(judge_letters(wanted_letters, letters, allowed))
    for habit in dead:
        held = await committed(stage.kafka, f"{GROUPS}forward-{habit.name}")
        verdict.add(judge_held(habit.name, ledger.wanted_by(habit.types), held))
    counters, struck = await stage.office.counters(), await stage.office.struck()
    logins, budget = _logins(stage, counters, struck)
    spare = sum(one.kills for name, one in stage.sinks.by_name.items() if name.startswith(MIRROR))
    verdict.add(judge_logins(logins, budget, spare))
    got_letters = {(letter.stage, letter.place) for letter in letters if letter.stage not in allowed}
    per_entity = (reads(counters) - reads(stage.before)) / max(1, len(ledger.mirrored()))
    summary = [
        f"sinks-chaos: changes {stage.appender.changes}",
        f"kills {stage.sinks.kills}",
        f"rows {len(rows)} wrong {sum(verdict.counts[kind] for kind in ROW_KINDS)}",
        f"subscriber missing {verdict.counts['missing']} disorder {verdict.counts['disorder']}",
        f"dead letters expected {sum(map(len, wanted_letters.values()))} got {len(got_letters)}",
        f"logins {sum(logins.values())} budget {sum(budget.values()) + spare}",
        f"reads/entity {per_entity:.2f}",
    ]
    if most_reads is None:
        stage.problems.extend(_too_easy(stage, struck))
    elif per_entity > most_reads:
        verdict.tell("reads", f"{per_entity:.3f} per entity, {most_reads:g} are allowed")
    return Outcome(
        summary=", ".join(summary),
        figures=_figures(stage, settled_s, struck, _repeats(letters)),
        verdict=verdict,
        noted=[*stage.problems, *stage.sinks.problems],
        logs={name: read_log(one.log, stage.site.secrets) for name, one in stage.sinks.by_name.items()},
    )


def _logins(
    stage: Stage, counters: Mapping[str, Mapping[str, Any]], struck: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[dict[str, int], dict[str, int]]:
    """How often each account logged in, or tried to, and how often it may have.

    Once; once more for each time that ServiceTrade ended its session; and once in vain where it was locked out, as
    after a 403 nobody tries again (docs/servicetrade-session.md).
    """
    logins = {
        name: int(one["login_attempts"]) - int(stage.before[name]["login_attempts"]) for name, one in counters.items()
    }
    budget = {name: 1 + _ended(struck[name]) + (name in stage.locked) for name in counters}
    return logins, budget


def _repeats(letters: Sequence[Letter]) -> Counter[str]:
    """Dead letters by stage that stand there more than once, as often as they do it in vain."""
    times = Counter((letter.stage, letter.place) for letter in letters)
    return Counter({stage: sum(n - 1 for (one, _), n in times.items() if one == stage) for stage, _ in times})


def _ended(faults: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(fault["struck"]) for fault in faults if fault["kill_session"])


def _figures(
    stage: Stage, settled_s: float | None, struck: Mapping[str, Sequence[Mapping[str, Any]]], repeats: Mapping[str, int]
) -> list[str]:
    failed = Counter[str]()
    for faults in struck.values():
        for fault in faults:
            if fault["ratio"] < 1:
                failed["reset" if fault["reset"] else str(fault["status"])] += int(fault["struck"])
    when = "never" if settled_s is None else f"after {settled_s:.1f} s"
    lines = [
        f"settled {when}; copies of changes {stage.appender.copies}, dead letters that are repeats {dict(repeats)}",
        f"reads that failed on purpose: {dict(failed)}; sessions ended {sum(map(_ended, struck.values()))}",
    ]
    for one in stage.subscribers:
        wanted = len(stage.appender.ledger.wanted_by(one.habit.types))
        got, turned = len(one.requests), sum(not request.accepted for request in one.requests)
        told = f"subscriber {one.habit.name}: wants {wanted}, got {got} requests over {one.connections} connections"
        lines.append(f"{told}, refused {turned}")
    return lines


def _too_easy(stage: Stage, struck: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What a run has to have gone through to prove anything."""
    found = [f"{name} was never killed" for name, one in stage.sinks.by_name.items() if not one.kills]
    if not any(fault["struck"] for faults in struck.values() for fault in faults if fault["ratio"] < 1):
        found.append("no read failed")
    if not sum(map(_ended, struck.values())):
        found.append("no session was ended while it was in use")
    quiet = [one.habit.name for one in stage.subscribers if one.habit.dead == "silent" and not one.connections]
    found += [f"nobody tried to reach subscriber {name}" for name in quiet]
    found += [f"subscriber {one.habit.name}: {line}" for one in stage.subscribers for line in one.unreadable[:3]]
    return found
