"""The demo's ledger, drawn up from records made by hand: what was redriven is no loss, no gain, and no alibi."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from demo.ledger import Evidence, Ledger, account_for
from processors.consolidator import Consolidator
from processors.window import Origin
from schemas.change import change_record
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from tests.processors.running import element, tick, webhook
from tests.sinks.letter_making import letter_record, reason, resolution_record

TIMES = PipelineTimes()


def ledger_of(
    log: Sequence[LogRecord],
    *,
    sent: Sequence[LogRecord],
    letters: Sequence[LogRecord] = (),
    changes: Sequence[LogRecord] = (),
    sinks: tuple[str, ...] = ("mirror",),
    told: tuple[str, ...] = ("mirror",),
) -> Ledger:
    """What the ledger says when the processors did their work; `letters` and `changes` stand there besides.

    Of the `sinks` that have to deliver, those in `told` did.
    """
    core = Consolidator(Origin("servicetrade.webhooks", 3, 1), TIMES)
    outcome = core.feed([replace(record, topic="servicetrade.webhooks", partition=3) for record in log])
    quarantined = [
        LogRecord(
            offset=record.offset,
            timestamp=record.timestamp,
            key=record.key,
            value=record.value,
            headers=(*record.headers, *letter.headers()),
        )
        for record, letter in outcome.dead_letters
    ]
    made = [
        LogRecord(offset=offset, timestamp=0, key=key, value=value, headers=tuple(headers))
        for offset, (key, value, headers) in enumerate(map(change_record, outcome.changes))
    ]
    entry: dict[str, Any] = {"deliveries_2xx": 1, "sendings": 1, "refused": 0, "poison_body": False}
    journal = [{**entry, "sha256": hashlib.sha256(record.value or b"").hexdigest(), "elements": 2} for record in sent]
    return account_for(
        Evidence(
            journals={"acme": journal},
            webhooks=[replace(record, partition=3) for record in log],
            changes=[*made, *changes],
            deadletters=[*quarantined, *letters],
            deliveries=[
                LogRecord(offset=0, timestamp=0, value=encode({"sink": sink, "change_id": change.id}))
                for change in outcome.changes
                for sink in told
            ],
            rows={},
            entities={},
            touched=frozenset(),
            sinks=sinks,
        ),
        TIMES,
    )


def redriven(record: LogRecord, *, to: bytes = b"processors") -> tuple[tuple[str, bytes], ...]:
    return (*record.headers, ("tradewind-elements", b"1"), ("x-redrive-to", to), ("x-redrives", b"1"))


BAD = webhook(0, 1_000, element(1), 7)


def test_resolutions_and_letters_of_sinks_are_passed_over() -> None:
    mirror = letter_record(reason(topic="servicetrade.changes", partition=3, offset=0))
    letters = [mirror, resolution_record("redriven", 0), resolution_record("dropped", 1)]
    ledger = ledger_of([BAD, tick(1, 60_000)], sent=[BAD], letters=letters)
    assert ledger.balanced
    assert (ledger.quarantined, ledger.merged, ledger.notifications) == (1, 1, 2)


def test_a_redriven_webhook_counts_for_the_elements_that_it_names() -> None:
    again = replace(BAD, offset=1, timestamp=2_000, headers=redriven(BAD))
    for_a_sink = replace(BAD, offset=2, timestamp=2_000, headers=redriven(BAD, to=b"mirror"))
    ledger = ledger_of([BAD, again, for_a_sink, tick(3, 60_000)], sent=[BAD])
    assert ledger.balanced
    assert (ledger.quarantined, ledger.merged, ledger.notifications) == (2, 1, 3)


def test_a_redriven_copy_does_not_hide_that_a_webhook_is_missing() -> None:
    again = replace(BAD, offset=1, headers=redriven(BAD))
    ledger = ledger_of([again, tick(3, 60_000)], sent=[BAD])
    assert (ledger.lost_before_log, ledger.balanced) == (2, False)


def test_a_change_without_an_outcome_at_one_of_the_sinks_is_lost_there() -> None:
    both = ("mirror", "forward/billing")
    assert ledger_of([BAD, tick(1, 60_000)], sent=[BAD], sinks=both, told=both).balanced
    ledger = ledger_of([BAD, tick(1, 60_000)], sent=[BAD], sinks=both, told=("mirror",))
    assert (ledger.lost_at_sink, ledger.lost, ledger.balanced) == (1, 1, False)
