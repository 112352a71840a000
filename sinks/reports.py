"""Writes down what became of each arrival: on the topic of outcomes, among the dead letters, in metrics and logs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runtime import metrics
from runtime.kafka import Headers, Producer
from runtime.logs import log_event
from schemas.deadletter import HEADER_PREFIX, DeadLetter, redrives_of
from schemas.errors import LONGEST_REASON, Reject, RetryLater, StoreError
from schemas.record import LogRecord
from schemas.topics import DEADLETTERS, REDRIVE_TO_HEADER, REDRIVES_HEADER
from sinks.arrival import Arrival
from sinks.feed import Feed, Told
from sinks.steps import At, pass_by

_log = logging.getLogger(__name__)

UNREADABLE = "not-readable"
"""Error class of a dead letter whose bytes are nothing that the feed knows."""

Item = TypeVar("Item")
Out = TypeVar("Out")
Outgoing = tuple[str, bytes | None, bytes, Headers]


@dataclass(slots=True, eq=False)
class _Round:
    """Records that are sent together."""

    records: list[Outgoing] = field(default_factory=list)
    sent: bool = False


class _Rounds:
    """Sends what has come while the round before was on its way.

    A round is a batch for each partition. Many small ones would wait for each other in aiokafka, which counts the time
    that a batch waits several times, and so gives up after seconds.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._next = _Round()
        self._lock = asyncio.Lock()

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return when Kafka has acknowledged the records; a KafkaError leaves open whether it has them."""
        mine = self._next
        mine.records += records
        async with self._lock:
            if mine is self._next:
                self._next = _Round()
            # Else sent by another, unless that one was cancelled or failed.
            if not mine.sent:
                await self._producer.send_all(mine.records)
                mine.sent = True


class Reports(Generic[Item, Out]):
    """The reports of one sink. Every method returns when Kafka has acknowledged what it sent.

    Each may raise KafkaError: the report may or may not have been appended, so the outcome must not be committed.
    """

    def __init__(
        self, sink: str, feed: Feed[Item, Out], producer: Producer, *, topic_prefix: str, at: At = pass_by
    ) -> None:
        self._sink = sink
        self._feed = feed
        self._rounds = _Rounds(producer)
        self._outcomes = topic_prefix + feed.outcomes.name
        self._dead_letters = topic_prefix + DEADLETTERS.name
        self._at = at
        metrics.begin(metrics.DELIVERIES, sink, values=[metrics.DEAD_LETTERED])
        metrics.DELIVERY_RETRIES.labels(sink)

    async def settled(self, arrivals: Sequence[Arrival[Item]], outcomes: Sequence[Out]) -> None:
        """The sink has these outcomes for these arrivals."""
        now_ms = _now_ms()
        told = [
            self._feed.tell(arrival, outcome, sink=self._sink, now_ms=now_ms)
            for arrival, outcome in zip(arrivals, outcomes, strict=True)
        ]
        pairs = zip(arrivals, told, strict=True)
        await self._rounds.send([self._outcome(arrival.record, one) for arrival, one in pairs])
        self._at("reported")
        for one in told:
            self._count(one)

    async def rejected(self, arrival: Arrival[Item], error: Reject, *, with_letter: bool) -> None:
        """The sink can never deliver this; its dead letter goes along, unless it was written before."""
        now_ms = _now_ms()
        told = self._feed.tell_rejected(arrival, error, sink=self._sink, now_ms=now_ms)
        letter = self._letter(
            arrival.record,
            error=type(error).__name__,
            message=str(error),
            attempts=arrival.attempts,
            first_failure_ms=now_ms if arrival.first_failure_ms is None else arrival.first_failure_ms,
            now_ms=now_ms,
        )
        outcome = self._outcome(arrival.record, told)
        await self._rounds.send([letter, outcome] if with_letter else [outcome])
        self._at("buried")
        self._count(told)
        log_event(
            _log,
            "sink.rejected",
            level=logging.ERROR,
            sink=self._sink,
            account=arrival.account,
            key=arrival.key,
            partition=arrival.record.partition,
            offset=arrival.record.offset,
            reason=str(error),
        )

    async def unreadable(self, record: LogRecord, error: ValueError) -> None:
        """The record is nothing that an outcome could name: a dead letter is all there is."""
        now_ms = _now_ms()
        letter = self._letter(
            record, error=UNREADABLE, message=str(error), attempts=0, first_failure_ms=now_ms, now_ms=now_ms
        )
        await self._rounds.send([letter])
        self._at("buried")
        metrics.DELIVERIES.labels(self._sink, metrics.DEAD_LETTERED).inc()
        log_event(
            _log,
            "sink.rejected",
            level=logging.ERROR,
            sink=self._sink,
            partition=record.partition,
            offset=record.offset,
            reason=str(error),
        )

    def failed(self, arrival: Arrival[Item], error: RetryLater, *, pause_s: float) -> None:
        """The sink failed for now; it is tried again after a pause."""
        if arrival.first_failure_ms is None:
            arrival.first_failure_ms = _now_ms()
        metrics.DELIVERY_RETRIES.labels(self._sink).inc()
        log_event(
            _log,
            "sink.retry",
            level=logging.WARNING,
            sink=self._sink,
            account=arrival.account,
            key=arrival.key,
            partition=arrival.record.partition,
            offset=arrival.record.offset,
            attempts=arrival.attempts,
            pause_s=round(pause_s, 3),
            reason=str(error),
        )

    def _outcome(self, record: LogRecord, told: Told) -> Outgoing:
        return (self._outcomes, record.key, told.value, ())

    def _letter(
        self, record: LogRecord, *, error: str, message: str, attempts: int, first_failure_ms: int, now_ms: int
    ) -> Outgoing:
        letter = DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            stage=self._sink,
            error=error,
            message=message[:LONGEST_REASON],
            attempts=attempts,
            first_failure_ms=first_failure_ms,
            last_failure_ms=now_ms,
            redrives=redrives_of(record),
        )
        return (self._dead_letters, record.key, record.value or b"", [*_own_headers(record), *letter.headers()])

    def _count(self, told: Told) -> None:
        metrics.DELIVERIES.labels(self._sink, told.outcome).inc()
        metrics.DELIVERY_LATENCY_SECONDS.labels(self._sink).observe(told.latency_ms / 1000)


def store_failed(sink: str, error: StoreError) -> None:
    """The store did not do what the worker needs for itself; it goes on without, or tries again."""
    log_event(_log, "sink.retry", level=logging.WARNING, sink=sink, reason=str(error))


def _own_headers(record: LogRecord) -> list[tuple[str, bytes]]:
    """Without what earlier failures and redrives have added."""
    return [
        (name, value)
        for name, value in record.headers
        if not name.startswith(HEADER_PREFIX) and name not in (REDRIVE_TO_HEADER, REDRIVES_HEADER)
    ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
