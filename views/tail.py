"""Follows a topic from a moment on: all partitions, in the order of their times, through a broker's restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from heapq import heapify, heappop, heappush

from runtime.kafka import KafkaError, LogReader, Partition
from runtime.settings import KafkaSettings
from schemas.record import LogRecord

POLL_S = 0.2
RETRY_S = 0.5
ANSWER_S = 5.0
"""Brokers that say nothing for so long count as away."""

Told = Callable[[str], None]


async def follow(
    kafka: KafkaSettings, topic: str, *, since_ms: int | None, go_on: bool, told: Told
) -> AsyncGenerator[Sequence[LogRecord], None]:
    """The records of a topic from a moment on, each once.

    What stands in the log when it is read comes in the order of the records' times; what is appended later comes as
    it is found, so two records that were appended within POLL_S to two partitions may come the wrong way round.

    Args:
        kafka: where the topic is.
        topic: its full name.
        since_ms: from records of this time on, Unix milliseconds; None: from those that are appended from now on.
        go_on: wait for what comes; else it ends with what was there.
        told: told in a sentence when the brokers are away, when they are back, and when something cannot be shown.

    Yields:
        The next records, some 4 MiB of each partition at most; an empty one whenever there is nothing new for now.

    Raises:
        KafkaError: there is no such topic, or no broker answers, at the beginning; later too if it does not `go_on`.
    """
    positions: dict[Partition, int] | None = None
    away = False
    while True:
        try:
            async with _opened(kafka) as reader:
                async with asyncio.timeout(ANSWER_S):
                    known = positions
                    positions = await (
                        _first(reader, topic, since_ms) if known is None else resumed(reader, known, told)
                    )
                if away:
                    told("the broker is back")
                    away = False
                while True:
                    async with asyncio.timeout(ANSWER_S):
                        ends = await reader.ends(list(positions))
                    async with aclosing(merged(reader, positions, ends)) as batches:
                        async for batch in batches:
                            positions |= {Partition(topic, one.partition): one.offset + 1 for one in batch}
                            yield batch
                    positions |= {one: max(end, positions[one]) for one, end in ends.items()}
                    if not go_on:
                        return
                    yield ()
                    await asyncio.sleep(POLL_S)
        except (KafkaError, TimeoutError, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            failure = _failure(error)
            if positions is None or not go_on:
                raise failure from None
            if not away:
                told(f"the broker is away ({failure}); this goes on when it is back")
            away = True
            await asyncio.sleep(RETRY_S)


@asynccontextmanager
async def _opened(kafka: KafkaSettings) -> AsyncGenerator[LogReader, None]:
    async with AsyncExitStack() as stack:
        # Brokers that take a connection and say nothing would be waited for longer.
        async with asyncio.timeout(ANSWER_S):
            reader = await stack.enter_async_context(LogReader.open(kafka, client_id="tail"))
        yield reader


def _failure(error: BaseException) -> KafkaError:
    return error if isinstance(error, KafkaError) else KafkaError(f"no answer within {ANSWER_S:g} s")


def _is_cancelled(error: BaseException) -> bool:
    """Whether somebody wants this task to end.

    A time-out that runs out in the same turn in which its block ends, as after a Ctrl-Z and fg, leaves a cancellation
    that nobody asked for (Python before 3.13).
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


async def _first(reader: LogReader, topic: str, since_ms: int | None) -> dict[Partition, int]:
    partitions = await reader.partitions(topic)
    if since_ms is None:
        return await reader.ends(partitions)
    return {one: await reader.first_at_or_after(one, since_ms) for one in partitions}


async def resumed(reader: LogReader, positions: Mapping[Partition, int], told: Told) -> dict[Partition, int]:
    """Where to go on, now that the brokers answer again; tells what cannot be shown, or is shown anew."""
    ends = await reader.ends(list(positions))
    found = {}
    for partition, position in positions.items():
        beginning, end = await reader.beginning(partition), ends[partition]
        name = f"{partition.topic}[{partition.number}]"
        if position > end:
            told(f"{name} ends at {end:,}, and was read to {position:,} before: it is shown from its beginning")
        elif position < beginning:
            told(f"{name}: retention removed offsets {position:,} to {beginning - 1:,} before they could be shown")
        found[partition] = position if beginning <= position <= end else beginning
    return found


async def merged(
    reader: LogReader, starts: Mapping[Partition, int], stops: Mapping[Partition, int]
) -> AsyncGenerator[list[LogRecord], None]:
    """The records from `starts` up to but not including `stops`, in the order of their times over all partitions.

    Each partition's stay in the order of their offsets. In memory is one fetch of each partition.

    Raises:
        KafkaError: one is no longer in the log, or the broker is gone.
        TimeoutError: it does not answer.
    """
    fetched = {one: await _fetch(reader, one, start, stops[one]) for one, start in starts.items() if start < stops[one]}
    heads = [(records[0].timestamp, one, 0) for one, records in fetched.items() if records]
    heapify(heads)
    out: list[LogRecord] = []
    while heads:
        _, partition, at = heappop(heads)
        record = fetched[partition][at]
        out.append(record)
        if at + 1 == len(fetched[partition]):
            yield out  # before what was fetched gives way to what follows it
            out = []
            fetched[partition] = await _fetch(reader, partition, record.offset + 1, stops[partition])
            at = -1
        if at + 1 < len(fetched[partition]):
            heappush(heads, (fetched[partition][at + 1].timestamp, partition, at + 1))


async def _fetch(reader: LogReader, partition: Partition, start: int, stop: int) -> Sequence[LogRecord]:
    """The next records; none: there are none before `stop`."""
    async with asyncio.timeout(ANSWER_S):
        async for batch in reader.read(partition, start, stop):
            return batch
    return ()
