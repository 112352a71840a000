"""Pure: whether somebody works at every stage, and whether the log still holds what it has to do."""

from __future__ import annotations

from doctor.finding import GROUPS, Finding, many
from views.status_data import Stage


def group_findings(stage: Stage, *, asked_for: bool) -> list[Finding]:
    """What is to be said of one consumer group.

    Args:
        stage: as Kafka tells of it.
        asked_for: it has to run, even if it never did: the processors, and sinks that have a table of their own.
    """
    found = []
    if stage.lost_records:
        what = f"{many(stage.lost_records, 'record')} of {stage.topic} lost to retention before {stage.name} did them"
        found.append(GROUPS.failed(stage.name, what, _go_on(stage)))
    if stage.cut_off:
        cut, more = stage.cut_off[0], len(stage.cut_off) - 1
        others = f", and {many(more, 'other partition')} likewise" if more else ""
        what = (
            f"{stage.topic}[{cut.partition}] ends at {cut.end}, but {cut.committed} is committed{others}: the log was "
            "cut off, or the topic made anew"
        )
        do = "stop it and reset the group's offsets: kafka-consumer-groups.sh --reset-offsets --to-earliest"
        if stage.name == "processors":
            do = "raise kafka.log_epoch, then `tradewind processors --accept-loss`"
        found.append(GROUPS.failed(stage.name, f"{what} (group {stage.group})", do))
    if not stage.members:
        found.append(_left_alone(stage, asked_for=asked_for))
    if not found:
        found.append(
            GROUPS.ok(stage.name, f"{many(stage.members, 'worker')}, {many(stage.lag_records, 'record')} to do")
        )
    return found


def _left_alone(stage: Stage, *, asked_for: bool) -> Finding:
    waiting = f", with {many(stage.lag_records, 'record')} to do" if stage.lag_records else ""
    if not stage.started and not asked_for:
        return GROUPS.ok(stage.name, f"never ran{waiting}; if it is wanted: `{_command(stage)}`")
    return GROUPS.warning(stage.name, f"nobody works (group {stage.group}){waiting}", f"start `{_command(stage)}`")


def _go_on(stage: Stage) -> str:
    if stage.name == "processors":
        return (
            "`tradewind processors --accept-loss` goes on without them; a longer kafka.retention_days for the next time"
        )
    if stage.name == "mirror":
        return "`tradewind mirror backfill` reads all entities anew; a longer kafka.retention_days for the next time"
    if stage.name == "command":
        return "ask for these commands anew; a longer kafka.retention_days for the next time"
    return "`tradewind replay` makes them again from webhooks that are still there (docs/replay.md)"


def _command(stage: Stage) -> str:
    return "tradewind processors" if stage.name == "processors" else f"tradewind sink {stage.name.replace('/', ' ')}"
