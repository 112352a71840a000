"""Faust as its documentation shows it: an agent per event, a Table for the open windows, a timer that closes them."""

from __future__ import annotations

import logging
import sys

import faust
from faust.types import StreamT
from task import GAP_MS, Task, keys, result


def make_app(task: Task) -> faust.App:
    """The application.

    A table is changed by the agent; a timer has no event, so it needs `use_partitioner`, and the changelog's partition
    is chosen by the key. The table is in memory: faster than RocksDB, which Faust recommends for large ones.
    """
    app = faust.App(
        task.group,
        broker=f"kafka://{task.servers}",
        store="memory://",
        datadir=str(task.state),
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        topic_partitions=12,
        topic_replication_factor=1,
    )
    webhooks = app.topic(task.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    output = app.topic(task.output, key_type=str, value_serializer="json")
    table = app.Table("windows", partitions=12, use_partitioner=True)
    times: dict[int, int] = {}

    @app.agent(webhooks)
    async def merge(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            task.begin()
            now_ms, partition = round(event.message.timestamp * 1000), event.message.partition
            times[partition] = now_ms
            for key in keys(event.key or b"", event.value or b""):
                window = table.get(key)
                # The timer may not have come to it yet, and this one belongs to the next window.
                is_over = window is not None and now_ms - window[1] > GAP_MS
                if window is None or is_over:
                    table[key] = [now_ms, now_ms, 1, partition]
                else:
                    table[key] = [window[0], now_ms, window[2] + 1, partition]
                if is_over:  # the table first: while this waits, the timer looks at it
                    await output.send(key=key, value=result(key, *window[:3]))

    @app.task
    async def widen() -> None:
        # What users of tables are told to do when changelogs hold a worker up (faust-streaming/faust, issue 173).
        app.producer.buffer.max_messages = 10_000

    @app.timer(interval=1.0)
    async def close() -> None:
        # Event time moves by partition: partitions are not read at the same speed.
        due = [(key, window) for key, window in table.items() if times.get(window[3], 0) - window[1] > GAP_MS]
        for key, window in due:
            if table.get(key) == window:  # while the one before was sent, the agent went on
                table.pop(key)
                await output.send(key=key, value=result(key, *window[:3]))

    return app


def main() -> None:
    """Run until killed."""
    worker = faust.Worker(make_app(Task()), loglevel=logging.WARNING, redirect_stdouts=False, logfile=sys.stderr)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
