"""Brings a partition's core to where a replay begins, exactly as a processor does after an assignment."""

from __future__ import annotations

import time
from collections.abc import Sequence

from processors.consolidator import Consolidator
from processors.restore import restore
from processors.rules import builtin_rules
from replay.given_rules import GivenRules, marked
from replay.selection import Selection
from runtime.kafka import LogReader, Partition
from runtime.settings import Settings
from schemas.errors import LogGapError
from schemas.rules import RulesInForce


async def core_at(
    reader: LogReader,
    settings: Settings,
    partition: Partition,
    position: int,
    *,
    history: Sequence[RulesInForce],
    selection: Selection,
    given: GivenRules | None = None,
) -> Consolidator:
    """The state at a position.

    Args:
        reader: not used by anyone else meanwhile.
        settings: the same epoch and pipeline times as the processors'.
        partition: of the raw log.
        position: offset of the next record to consume.
        history: all records of tradewind.rules.
        selection: what the core is to see.
        given: rules that hold instead of those of then.

    Raises:
        LogGapError: retention removed records that the state depends on.
    """
    try:
        restored = await restore(
            reader,
            partition,
            position,
            epoch=settings.kafka.log_epoch,
            times=settings.pipeline,
            history=history,
            oldest_ms=round(time.time() * 1000) - settings.kafka.retention_ms,
            rules=None if given is None else given.marked(),
            otherwise=None if given is None else marked(builtin_rules(settings.pipeline.max_ceiling_ms)),
            see=selection.see,
        )
    except LogGapError as error:
        # What the processors can do about it, a replay cannot.
        raise LogGapError(str(error).partition("; --accept-loss")[0]) from None
    except ValueError as error:
        raise LogGapError(
            f"the rules in force at {position} of {partition.topic}[{partition.number}] cannot be read: {error}"
        ) from error
    return restored.consolidator
