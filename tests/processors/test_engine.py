"""The processors on a real broker: what has to come out is what the core makes of the raw log, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from processors.consolidator import Consolidator
from processors.engine import Engine
from processors.outbox import Commit
from processors.window import Origin
from runtime.kafka import LogReader, Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings, ProcessorsSettings
from schemas.change import cloud_event_headers, decode_change
from schemas.encoding import encode
from schemas.errors import LogGapError
from schemas.record import LogRecord
from schemas.topics import BODY_LIMIT_BYTES, CHANGES, CONTROL_HEADER, DEADLETTERS, MAX_RECORD_BYTES, RULES, WEBHOOKS
from tests.processors.pipeline import (
    ACCOUNTS,
    FAUST_LEAVES_ITS_LOOP_OPEN,
    TIMES,
    Pipeline,
    collect_quietly,
    committing,
    group_of,
    job,
    pipeline_on,
    removed_before,
    until,
    values,
    worker_process,
    working,
)

pytestmark = [pytest.mark.anyio, pytest.mark.containers, FAUST_LEAVES_ITS_LOOP_OPEN]


@pytest.fixture(autouse=True)
def _nothing_left_for_the_next_test() -> Iterator[None]:
    yield
    collect_quietly()


async def caught_up(pipeline: Pipeline) -> bool:
    """Whether everything in the raw log is committed."""
    committed = await committed_offsets(pipeline.kafka, group_of(pipeline.kafka))
    partitions = await pipeline.reader.partitions(pipeline.kafka.topic_prefix + WEBHOOKS.name)
    ends = {partition: await pipeline.reader.end(partition) for partition in partitions}
    return all(committed.get(partition) == end for partition, end in ends.items() if end)


async def busy(pipeline: Pipeline, rounds: int) -> None:
    """Bursts about a few hot entities of every account, with repeats, in which windows overlap."""
    for number in range(rounds):
        for account in ACCOUNTS:
            change = {"field": "status", "oldValue": number, "newValue": number + 1}
            elements = [job(number % 7, changeset=change), job(number % 3, userId=number)]
            await pipeline.post(account, *elements, message_id=f"{account}-{number - number % 5 // 4}")


async def test_webhooks_become_the_changes_of_the_log_and_silence_closes_the_last_window(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka) as pipeline, working(kafka) as worker:
        await pipeline.rules(*ACCOUNTS)
        await busy(pipeline, 20)
        await until(pipeline.complete)
        found = await pipeline.check(repeats=False)
        assert len(found) >= len(ACCOUNTS) * 7
        for record in found:
            change = decode_change(record.value or b"")
            assert record.key == change.key.encode()
            assert list(record.headers) == cloud_event_headers(change)
        await until(lambda: caught_up(pipeline))
        assert not worker.done()
    assert worker.exception() is None


async def test_what_cannot_be_read_reaches_the_dead_letters_untouched_and_its_neighbours_go_on(
    kafka: KafkaSettings,
) -> None:
    async with pipeline_on(kafka) as pipeline, working(kafka):
        await pipeline.rules("acme")
        await pipeline.raw(b"acme", b"\xff not json \x00", ("trace", b"\x00\xff"), ("trace", b"again"))
        await pipeline.raw(b"\xff\xfe", b"{}")
        await pipeline.raw(None, b"no key", partition=0)
        await pipeline.raw(b"acme", b"", (CONTROL_HEADER, b"dance"))
        await pipeline.raw(b"acme", b"{}", (CONTROL_HEADER, b"rules"))
        await pipeline.post("acme", 17, job(1), {"entity": None})
        await until(pipeline.complete)
        (change,) = values(await pipeline.check(repeats=False))
        assert change["entity_id"] == "1"
        letters = await pipeline.all(DEADLETTERS.name)
        assert len(letters) == 6
        (first,) = [letter for letter in letters if letter.value == b"\xff not json \x00"]
        assert first.headers[:2] == (("trace", b"\x00\xff"), ("trace", b"again"))
        assert dict(first.headers)["x-dlq-error"] == b"not-json"


async def test_rules_applied_through_the_log_take_effect_there_and_are_copied_with_their_position(
    kafka: KafkaSettings,
) -> None:
    async with pipeline_on(kafka) as pipeline, working(kafka):
        await pipeline.rules("acme")
        await pipeline.post("acme", job(1))
        await pipeline.rules("acme", keep=False)
        await pipeline.post("acme", job(2))
        await pipeline.rules("acme", actions=["deleted"])
        await pipeline.post("acme", job(3), job(4, action="deleted"))
        await until(pipeline.complete)
        changes = values(await pipeline.check(repeats=False))
        assert [change["entity_id"] for change in changes] == ["1", "4"]
        copies = values(await pipeline.all(RULES.name))
        assert [copy["offset"] for copy in copies] == [0, 2, 4]
        assert changes[1]["rules_version"] == copies[2]["version"]


async def test_a_worker_killed_in_the_middle_of_open_windows_loses_nothing_and_repeats_the_same_bytes(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with pipeline_on(kafka) as pipeline:
        await pipeline.rules(*ACCOUNTS)

        async def some_came_out() -> bool:
            return bool(await pipeline.all(CHANGES.name))

        async with worker_process(kafka, tmp_path, "one") as first:
            await busy(pipeline, 10)
            await until(some_came_out)
            await busy(pipeline, 10)
            first.kill()
            await first.wait()
        await busy(pipeline, 5)
        async with worker_process(kafka, tmp_path, "one") as second:
            await busy(pipeline, 5)
            await until(pipeline.complete)
            second.terminate()
            assert await second.wait() == 0
        await pipeline.check(repeats=True)


async def test_when_one_of_two_workers_is_killed_the_other_takes_its_partitions_and_everything_comes_out(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with (
        pipeline_on(kafka) as pipeline,
        worker_process(kafka, tmp_path, "one") as first,
        worker_process(kafka, tmp_path, "two"),
    ):
        await pipeline.rules(*ACCOUNTS)

        async def both_work() -> bool:
            return all(b"processors.restored" in (tmp_path / f"{name}.log").read_bytes() for name in ("one", "two"))

        await until(both_work)
        await busy(pipeline, 10)
        first.kill()
        await first.wait()
        await busy(pipeline, 10)
        await until(pipeline.complete)
        await pipeline.check(repeats=True)


async def test_a_committed_offset_that_retention_removed_stops_the_worker_until_the_loss_is_accepted(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        async with working(kafka):
            await pipeline.rules("acme")
            await pipeline.post("acme", job(1))
            await until(pipeline.complete)
            await until(lambda: caught_up(pipeline))
        for number in range(2, 6):
            await pipeline.post("acme", job(number))
        partition = Partition(kafka.topic_prefix + WEBHOOKS.name, 0)
        await removed_before(kafka, partition, await pipeline.reader.end(partition) - 2)
        async with working(kafka) as worker, asyncio.timeout(40):
            await asyncio.wait({worker})
        with pytest.raises(ExceptionGroup) as caught:
            worker.result()
        assert caught.group_contains(LogGapError, match="--accept-loss")
        async with worker_process(kafka, tmp_path, "worker") as refusing, asyncio.timeout(40):
            assert await refusing.wait() == 1

        async def the_rest_came_out() -> bool:
            return {"4", "5"} <= {change["entity_id"] for change in values(await pipeline.all(CHANGES.name))}

        async with working(kafka, accept_loss=True):
            await until(the_rest_came_out)
        assert {change["entity_id"] for change in values(await pipeline.all(CHANGES.name))} == {"1", "4", "5"}


async def test_a_partition_that_was_silent_until_retention_emptied_it_does_not_stop_the_worker(
    kafka: KafkaSettings,
) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline:
        async with working(kafka):
            await pipeline.rules("acme")
            await pipeline.post("acme", job(1))
            await until(pipeline.complete)
            await until(lambda: caught_up(pipeline))
        partition = Partition(kafka.topic_prefix + WEBHOOKS.name, 0)
        await removed_before(kafka, partition, await pipeline.reader.end(partition))

        async with working(kafka) as worker:
            await pipeline.post("acme", job(2))

            async def came_out_or_crashed() -> bool:
                return worker.done() or len(await pipeline.all(CHANGES.name)) == 2

            await until(came_out_or_crashed)
            assert not worker.done()


async def refused(_: object) -> bool:
    return False


@asynccontextmanager
async def engine_on(pipeline: Pipeline, commit: Commit = refused) -> AsyncIterator[Engine]:
    """An engine without Faust: the test is the one who assigns partitions and hands over batches."""
    kafka = pipeline.kafka
    async with LogReader.open(kafka, client_id="restore") as reader:
        settings = ProcessorsSettings(group=group_of(kafka))
        engine = Engine(kafka, TIMES, settings=settings, producer=pipeline.producer, reader=reader, commit=commit)
        running = asyncio.create_task(engine.run())
        try:
            yield engine
        finally:
            running.cancel()
            await asyncio.wait({running})


async def pump(pipeline: Pipeline, engine: Engine, partition: Partition, start: int) -> None:
    """Hand over what follows in the log, ticks included, until no window is open and all changes are out."""

    async def consumed() -> bool:
        nonlocal start
        records = [record for record in await pipeline.records(partition) if record.offset >= start]
        if records:
            await engine.on_batch(partition, records)
            start = records[-1].offset + 1
        return await pipeline.complete()

    await until(consumed)


async def six_webhooks(pipeline: Pipeline) -> tuple[Partition, list[LogRecord]]:
    """A rules record and six webhooks about two jobs, whose windows stay open for a while."""
    await pipeline.rules("acme", quiet_ms=1_500, ceiling_ms=2_000)
    for number in range(6):
        await pipeline.post("acme", job(number % 2, userId=number))
    partition = Partition(pipeline.kafka.topic_prefix + WEBHOOKS.name, 0)
    return partition, await pipeline.records(partition)


@pytest.mark.parametrize("committed", [2, 4], ids=["behind what was consumed", "exactly what was consumed"])
async def test_after_a_rebalance_the_state_is_that_of_the_committed_offset(
    kafka: KafkaSettings, committed: int
) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline, committing(kafka, group_of(kafka)) as commit:
        partition, records = await six_webhooks(pipeline)

        async def no_further(positions: Mapping[Partition, int]) -> bool:
            return positions[partition] <= committed and await commit(positions)

        async def is_committed(offset: int) -> bool:
            return (await committed_offsets(kafka, group_of(kafka))).get(partition) == offset

        async with engine_on(pipeline, no_further) as engine:
            await engine.on_assigned(frozenset({partition}))
            await engine.on_batch(partition, records[:2])
            await until(lambda: is_committed(2))
            await engine.on_batch(partition, records[2:4])
            await until(lambda: is_committed(committed))
            await engine.on_revoked(frozenset({partition}))
            assert engine.ready() == {"restored": False}
            await engine.on_assigned(frozenset({partition}))
            await pump(pipeline, engine, partition, committed)
            await pipeline.check(repeats=True)


async def test_at_the_end_what_is_on_its_way_is_committed_so_that_nothing_is_repeated(kafka: KafkaSettings) -> None:
    async with (
        pipeline_on(kafka, partitions=1) as pipeline,
        committing(kafka, group_of(kafka)) as commit,
        engine_on(pipeline, commit) as engine,
    ):
        partition, records = await six_webhooks(pipeline)
        await engine.on_assigned(frozenset({partition}))
        await engine.on_batch(partition, [*records, end_of_time(records[-1])])
        await engine.drain()
        assert len(await pipeline.all(CHANGES.name)) == 2
        assert (await committed_offsets(kafka, group_of(kafka)))[partition] == records[-1].offset + 2


async def test_a_batch_that_begins_after_the_restored_position_does_not_make_the_engine_skip_records(
    kafka: KafkaSettings,
) -> None:
    """Faust can hand over such a batch: one that was fetched before a rebalance, or after a commit that ran late."""
    async with pipeline_on(kafka, partitions=1) as pipeline, engine_on(pipeline) as engine:
        partition, records = await six_webhooks(pipeline)
        await engine.on_assigned(frozenset({partition}))
        await engine.on_batch(partition, records[:4])
        await engine.on_revoked(frozenset({partition}))
        await engine.on_assigned(frozenset({partition}))
        await pump(pipeline, engine, partition, 4)
        await pipeline.check(repeats=True)


async def test_a_batch_that_was_consumed_before_is_passed_over(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline, engine_on(pipeline) as engine:
        partition, records = await six_webhooks(pipeline)
        await engine.on_assigned(frozenset({partition}))
        await engine.on_batch(partition, records[:4])
        await engine.on_batch(partition, records[1:3])
        await pump(pipeline, engine, partition, 2)
        await pipeline.check(repeats=False)


async def test_a_batch_of_a_partition_that_went_to_another_worker_is_left_to_it(kafka: KafkaSettings) -> None:
    async with pipeline_on(kafka, partitions=1) as pipeline, engine_on(pipeline) as engine:
        partition, records = await six_webhooks(pipeline)
        await engine.on_assigned(frozenset())
        await engine.on_batch(partition, [*records, end_of_time(records[-1])])
        assert await pipeline.all(CHANGES.name) == []


def end_of_time(last: LogRecord) -> LogRecord:
    """A tick that closes everything."""
    headers = ((CONTROL_HEADER, b"tick"),)
    return LogRecord(offset=last.offset + 1, timestamp=last.timestamp + 60_000, headers=headers)


def size(record: LogRecord, headers: list[tuple[str, bytes]]) -> int:
    return len(record.value or b"") + sum(len(name) + len(value) for name, value in headers)


def test_the_dead_letter_of_the_largest_webhook_fits_into_a_record() -> None:
    """Else it cannot be sent, and the worker stops at this webhook for ever."""
    count = (BODY_LIMIT_BYTES - len(b'{"data":[]}')) // 2
    body = b'{"data":[' + b"1," * (count - 1) + b"1]}"
    record = LogRecord(offset=0, timestamp=1_000, key=b"acme", value=body)
    (found,) = Consolidator(Origin("servicetrade.webhooks", 0, 1), TIMES).feed([record]).dead_letters
    assert size(record, found[1].headers()) < MAX_RECORD_BYTES


def test_a_change_fits_into_a_record_whatever_was_merged_into_it() -> None:
    """Else it cannot be sent, and the worker stops at this window for ever."""
    core = Consolidator(Origin("servicetrade.webhooks", 0, 1), TIMES)
    for offset in range(6):
        change = {"field": f"note{offset}", "oldValue": None, "newValue": "x" * (BODY_LIMIT_BYTES - 1_000)}
        value = json.dumps({"messageId": str(offset), "data": [job(1, changeset=change)]}).encode()
        record = LogRecord(offset=offset, timestamp=1_000, key=b"acme", value=value)
        assert core.feed([record]).changes == []
    (merged,) = core.feed([end_of_time(record)]).changes
    assert len(encode(merged)) < MAX_RECORD_BYTES
