"""Quix Streams as its documentation shows it: group_by the entity, a session window, its final result."""

from __future__ import annotations

from typing import Any

import orjson
from confluent_kafka import Producer
from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Count, Max, Min
from task import CLOSING, GAP_MS, PARTITIONS, Task, keys, result

STEP = "entity"


def close_windows(task: Task) -> None:
    """Move the event time of the re-keyed topic on.

    In the raw topic it cannot be done: partitions are read at different speeds, and the first one's last record would
    make all that is still unread in the others late.
    """
    producer = Producer({"bootstrap.servers": task.servers})
    key = f"bench{CLOSING}0"
    for partition in range(PARTITIONS):
        producer.produce(
            f"repartition__{task.group}--{task.topic}--{STEP}",
            orjson.dumps({"key": key, "at": task.closing_ms}),
            key,
            partition=partition,
            timestamp=task.closing_ms,
        )
    producer.flush()


def main() -> None:
    """Run until killed."""
    task = Task()
    app = Application(
        broker_address=task.servers,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        state_dir=task.state,
        auto_create_topics=True,
        loglevel="WARNING",
    )
    webhooks = app.topic(task.topic, key_deserializer="bytes", value_deserializer="bytes")
    output = app.topic(task.output, key_serializer="str", value_serializer="json")

    counted = 0

    def count(_: dict[str, Any]) -> None:
        nonlocal counted
        counted += 1
        if counted == task.notifications:
            close_windows(task)

    def notifications(body: bytes, account: bytes, at_ms: int, _: Any) -> list[dict[str, Any]]:
        task.begin()
        return [{"key": key, "at": at_ms} for key in keys(account, body) if CLOSING not in key]

    stream = app.dataframe(webhooks)
    stream = stream.apply(notifications, expand=True, metadata=True)
    stream = stream.group_by("key", name=STEP, key_deserializer="str", key_serializer="str").update(count)
    stream = (
        stream.session_window(inactivity_gap_ms=GAP_MS, grace_ms=task.grace_ms)
        .agg(count=Count(), first=Min("at"), last=Max("at"))
        .final(closing_strategy="partition")
    )
    stream = stream.apply(
        lambda window, key, *_: result(key, window["first"], window["last"], window["count"]), metadata=True
    )
    stream.to_topic(output)
    app.run()


if __name__ == "__main__":
    main()
