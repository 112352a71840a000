"""The limit: a hand-written loop over confluent-kafka with a dict, and none of the guarantees."""

from __future__ import annotations

from collections import OrderedDict, defaultdict

import orjson
from confluent_kafka import Consumer, Producer
from task import GAP_MS, Task, keys, result


def main() -> None:
    """Run until killed."""
    task = Task()
    consumer = Consumer(
        {"bootstrap.servers": task.servers, "group.id": task.group, "auto.offset.reset": "earliest"},
    )
    producer = Producer(
        {
            "bootstrap.servers": task.servers,
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    consumer.subscribe([task.topic])
    # Per partition, open windows in the order of their last notification: with one gap for all, the order of closing.
    partitions: defaultdict[int, OrderedDict[str, list[int]]] = defaultdict(OrderedDict)
    while True:
        for message in consumer.consume(5_000, 0.05):
            if message.error():
                raise RuntimeError(message.error())
            task.begin()
            now_ms = message.timestamp()[1]
            windows = partitions[message.partition()]
            while windows:
                key = next(iter(windows))
                first_ms, last_ms, count = windows[key]
                if now_ms - last_ms <= GAP_MS:
                    break
                del windows[key]
                producer.produce(task.output, orjson.dumps(result(key, first_ms, last_ms, count)), key)
            for key in keys(message.key(), message.value()):
                window = windows.get(key)
                if window is None:
                    windows[key] = [now_ms, now_ms, 1]
                else:
                    window[1], window[2] = now_ms, window[2] + 1
                    windows.move_to_end(key)
        producer.poll(0)


if __name__ == "__main__":
    main()
