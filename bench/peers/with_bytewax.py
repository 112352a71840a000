"""Bytewax as its documentation shows it: its Kafka connector, an event clock, a session window, a fold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from task import GAP_MS, Task, keys, result

Seen = tuple[int, int, int]
"""First and last time, Unix milliseconds, and count."""


def main() -> None:
    """Run until the topic's end: there Bytewax closes what is open."""
    task = Task()

    def notifications(message: KafkaSourceMessage[bytes, bytes]) -> Iterator[tuple[str, int]]:
        task.begin()
        at_ms = message.timestamp[1]
        return ((key, at_ms) for key in keys(message.key, message.value))

    def closed(item: tuple[str, tuple[int, Seen]]) -> KafkaSinkMessage[bytes, bytes]:
        key, (_, seen) = item
        return KafkaSinkMessage(key.encode(), orjson.dumps(result(key, *seen)))

    clock = win.EventClock(
        ts_getter=lambda at_ms: datetime.fromtimestamp(at_ms / 1000, UTC),
        wait_for_system_duration=timedelta(seconds=10),
    )
    flow = Dataflow("sessions")
    webhooks = op.input("webhooks", flow, KafkaSource([task.servers], [task.topic], tail=False))
    entities = op.flat_map("notifications", webhooks, notifications)
    windows = win.fold_window(
        "windows",
        entities,
        clock,
        win.SessionWindower(gap=timedelta(milliseconds=GAP_MS)),
        builder=lambda: (2**63, 0, 0),
        folder=lambda seen, at_ms: (min(seen[0], at_ms), max(seen[1], at_ms), seen[2] + 1),
        merger=lambda one, other: (min(one[0], other[0]), max(one[1], other[1]), one[2] + other[2]),
    )
    op.output("output", op.map("closed", windows.down, closed), KafkaSink([task.servers], task.output))
    cli_main(flow)


if __name__ == "__main__":
    main()
