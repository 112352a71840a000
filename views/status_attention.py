"""Pure: what of the pipeline's state wants a person, and what that person can do."""

from __future__ import annotations

from collections.abc import Iterator

from views.status_data import (
    INGEST,
    INGEST_NAME,
    LEDGER_IMBALANCE,
    PROCESSORS,
    SPOOL_ACCEPTING,
    SPOOL_PARKED,
    Flow,
    OpenLetters,
    Overview,
    Stage,
    Stored,
    Unread,
)

BEHIND_MS = 300_000
"""A stage that is so far behind will hardly be what somebody wants."""


def attention(overview: Overview) -> list[str]:
    """What wants a person, each in a sentence, the most urgent first."""
    return [
        *_unread(overview),
        *_processes(overview),
        *(_stored(overview.stored) if isinstance(overview.stored, Stored) else ()),
        *(_flow(overview.flow, overview.now_ms) if isinstance(overview.flow, Flow) else ()),
        *(_letters(overview.letters) if isinstance(overview.letters, OpenLetters) else ()),
    ]


def _unread(overview: Overview) -> Iterator[str]:
    if isinstance(overview.flow, Unread):
        yield f"Kafka cannot be asked how far the stages are: {overview.flow.unread}"
    elif isinstance(overview.letters, Unread):
        yield f"the dead letters cannot be read: {overview.letters.unread}"
    if isinstance(overview.stored, Unread):
        yield f"the store cannot be read: {overview.stored.unread}"


def _processes(overview: Overview) -> Iterator[str]:
    for one in overview.processes:
        # A group tells of the others. Of ingest only its port tells: the raw log is quiet at night, and ticks go on.
        if one.silent and one.name == INGEST_NAME:
            yield (
                f"ingest does not answer at {one.address} ({one.silent}): `tradewind ingest`, or --ops HOST:PORT if it "
                "runs elsewhere"
            )
        elif one.silent and not one.name:
            yield f"no process answers at {one.address}: {one.silent}"
    for one in overview.of_kind(INGEST):
        if one.metrics.get(SPOOL_ACCEPTING, 1) == 0:
            yield f"ingest at {one.address} cannot spool: webhooks are refused while Kafka does not acknowledge them"
        if parked := one.metrics.get(SPOOL_PARKED, 0):
            yield f"ingest at {one.address} holds {_many(parked, 'webhook')} that Kafka refuses as they are"
    for one in overview.of_kind(PROCESSORS):
        if lost := one.metrics.get(LEDGER_IMBALANCE, 0):
            yield f"processors at {one.address}: the ledger is out by {_many(lost, 'notification')}: `tradewind audit`"


def _stored(stored: Stored) -> Iterator[str]:
    for halted in stored.halted:
        yield f"{halted.sink} is halted: {halted.reason}; that dealt with: `tradewind sink resume {halted.sink}`"
    for session in stored.sessions:
        if session.refused:
            why = f" ({session.reason})" if session.reason else ""
            yield (
                f"ServiceTrade refuses the credentials of {session.account}{why}: put right ones into the "
                f"configuration, or `tradewind session unlock {session.account}`"
            )
        elif session.state == "unreadable":
            yield f"the session of {session.account} is encrypted with a key that store.key does not hold"
    for parked in stored.parked:
        if parked.whole_account:
            yield f"{parked.sink} has put the account {parked.account} aside: `tradewind sink status` says more"


def _flow(flow: Flow, now_ms: int) -> Iterator[str]:
    for stage in flow.stages:
        yield from _gaps(stage)
        if is_left_alone(stage):
            start = "processors" if stage.name == "processors" else f"sink {stage.name.replace('/', ' ')}"
            waits = f", with {_many(stage.lag_records, 'record')} to do" if stage.lag_records else ""
            yield f"nobody works as {stage.name}{waits}: `tradewind {start}`"
        elif stage.members and behind_ms(stage, now_ms) >= BEHIND_MS:
            yield f"{stage.name} is {behind_ms(stage, now_ms) // 60_000:,} minutes behind"


def _gaps(stage: Stage) -> Iterator[str]:
    if stage.cut_off:
        one, *others = stage.cut_off
        more = f", and {_many(len(others), 'other partition')} likewise" if others else ""
        # As the processors refuse it: processors/restore.py.
        epoch = " (then raise kafka.log_epoch)" if stage.name == "processors" else ""
        yield (
            f"{stage.topic}[{one.partition}] ends at {one.end}, but {one.committed} is committed by {stage.name}"
            f"{more}: the log was cut off, or the topic made anew{epoch}"
        )
    if stage.lost_records:
        them = "is" if stage.lost_records == 1 else "are"
        yield f"{_many(stage.lost_records, 'record')} {them} lost to retention before {stage.name} did them"


def is_left_alone(stage: Stage) -> bool:
    """Whether nobody works there, though somebody should; a sink that never ran is one that nobody wants."""
    return not stage.members and (stage.started or stage.name == "processors")


def behind_ms(stage: Stage, now_ms: int) -> int:
    """How long the first record that is not done waits, milliseconds."""
    return 0 if stage.oldest_ms is None else max(0, now_ms - stage.oldest_ms)


def _letters(letters: OpenLetters) -> Iterator[str]:
    for stage, accounts in letters.counts.items():
        count = sum(accounts.values())
        yield f"{_many(count, 'open dead letter')} of {stage}: `tradewind deadletters list --sink {stage}`"


def _many(count: float, noun: str) -> str:
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"
