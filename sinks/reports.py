"""Writes down what became of each change: on servicetrade.deliveries, among the dead letters, in metrics and logs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from runtime import metrics
from runtime.kafka import Headers, Producer
from runtime.logs import log_event
from schemas.deadletter import DeadLetter
from schemas.delivery import Delivery
from schemas.encoding import encode
from schemas.errors import Reject, RetryLater
from schemas.record import LogRecord
from schemas.topics import DEADLETTERS, DELIVERIES
from sinks.arrival import Arrival, dead_letter_of, delivery_of
from sinks.outcome import Outcome, Skipped

_log = logging.getLogger(__name__)

UNREADABLE = "not-a-change"
"""Error class of a dead letter whose bytes are no EntityChange."""

Outgoing = tuple[str, bytes | None, bytes, Headers]


class Reports:
    """The reports of one sink. Every method returns when Kafka has acknowledged what it sent.

    Each may raise KafkaError: the report may or may not have been appended, so the outcome must not be committed.
    """

    def __init__(self, sink: str, producer: Producer, *, topic_prefix: str) -> None:
        self._sink = sink
        self._producer = producer
        self._deliveries = topic_prefix + DELIVERIES.name
        self._dead_letters = topic_prefix + DEADLETTERS.name

    async def settled(self, arrivals: Sequence[Arrival], outcomes: Sequence[Outcome]) -> None:
        """The sink has these outcomes for these changes."""
        now_ms = _now_ms()
        deliveries = [
            delivery_of(
                arrival,
                sink=self._sink,
                outcome="skipped" if isinstance(outcome, Skipped) else "delivered",
                reason=outcome.reason if isinstance(outcome, Skipped) else "",
                now_ms=now_ms,
            )
            for arrival, outcome in zip(arrivals, outcomes, strict=True)
        ]
        pairs = zip(arrivals, deliveries, strict=True)
        await self._producer.send_all([self._delivery(arrival.record, delivery) for arrival, delivery in pairs])
        self._count(deliveries)

    async def rejected(self, arrival: Arrival, error: Reject) -> None:
        """The sink can never deliver this change."""
        now_ms = _now_ms()
        delivery = delivery_of(arrival, sink=self._sink, outcome="dead-lettered", reason=str(error), now_ms=now_ms)
        first_ms = now_ms if arrival.first_failure_ms is None else arrival.first_failure_ms
        letter = dead_letter_of(
            arrival.record,
            sink=self._sink,
            error=type(error).__name__,
            message=str(error),
            attempts=arrival.attempts,
            first_failure_ms=first_ms,
            now_ms=now_ms,
        )
        await self._producer.send_all(
            [self._dead_letter(arrival.record, letter), self._delivery(arrival.record, delivery)]
        )
        self._count([delivery])
        change = arrival.change
        log_event(
            _log,
            "sink.rejected",
            level=logging.ERROR,
            sink=self._sink,
            account=change.account,
            entity=change.subject,
            change_id=change.id,
            reason=str(error),
        )

    async def unreadable(self, record: LogRecord, error: ValueError) -> None:
        """The record is no change, so there is none that a delivery could name: a dead letter is all there is."""
        now_ms = _now_ms()
        letter = dead_letter_of(
            record,
            sink=self._sink,
            error=UNREADABLE,
            message=str(error),
            attempts=0,
            first_failure_ms=now_ms,
            now_ms=now_ms,
        )
        await self._producer.send_all([self._dead_letter(record, letter)])
        metrics.DELIVERIES.labels(self._sink, "dead-lettered").inc()
        log_event(
            _log,
            "sink.rejected",
            level=logging.ERROR,
            sink=self._sink,
            partition=record.partition,
            offset=record.offset,
            reason=str(error),
        )

    def failed(self, arrival: Arrival, error: RetryLater, *, pause_s: float) -> None:
        """The sink failed for now on this change; it is tried again after a pause."""
        if arrival.first_failure_ms is None:
            arrival.first_failure_ms = _now_ms()
        metrics.DELIVERY_RETRIES.labels(self._sink).inc()
        log_event(
            _log,
            "sink.retry",
            level=logging.WARNING,
            sink=self._sink,
            account=arrival.change.account,
            entity=arrival.change.subject,
            change_id=arrival.change.id,
            attempts=arrival.attempts,
            pause_s=round(pause_s, 3),
            reason=str(error),
        )

    def _delivery(self, record: LogRecord, delivery: Delivery) -> Outgoing:
        return (self._deliveries, record.key, encode(delivery), ())

    def _dead_letter(self, record: LogRecord, letter: DeadLetter) -> Outgoing:
        return (self._dead_letters, record.key, record.value or b"", [*record.headers, *letter.headers()])

    def _count(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            metrics.DELIVERIES.labels(self._sink, delivery.outcome).inc()
            metrics.DELIVERY_LATENCY_SECONDS.labels(self._sink).observe(delivery.latency_ms / 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
