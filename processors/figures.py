"""Tells, in metrics and logs, what a batch amounted to."""

from __future__ import annotations

import logging
import time

from processors.consolidator import Ledger, Outcome
from runtime import metrics
from runtime.logs import log_event

_log = logging.getLogger(__name__)


def count(outcome: Outcome, before: Ledger, after: Ledger) -> None:
    """Count what is acknowledged.

    Args:
        outcome: of the batch.
        before: the partition's ledger before the batch.
        after: the ledger after it.
    """
    for fate, name in metrics.FATES.items():
        metrics.NOTIFICATIONS.labels(fate).inc(getattr(after, name) - getattr(before, name))
    metrics.CHANGES.inc(len(outcome.changes))
    now_ms = time.time() * 1000
    for change in outcome.changes:
        if change.closed_by in ("quiet", "ceiling", "cut"):
            metrics.FIRING_DELAY_SECONDS.observe(max(0.0, (now_ms - change.due_ms) / 1000))
    for record, letter in outcome.dead_letters:
        log_event(
            _log,
            "processors.quarantined",
            level=logging.WARNING,
            partition=letter.partition,
            offset=record.offset,
            error=letter.error,
            reason=letter.message,
        )
    for entry in outcome.rules:
        log_event(_log, "processors.rules_applied", account=entry.account, version=entry.version)
