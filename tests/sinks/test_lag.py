"""A sink's lag is what has no outcome, read or not, and as old as the oldest of it; it goes when the work is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from runtime.kafka import LogReader, Partition
from runtime.kafka_settings import KafkaSaslSettings
from runtime.metrics import REGISTRY
from runtime.toml_reader import Secret
from schemas.errors import Reject, RetryLater
from schemas.topics import CHANGES
from sinks.lag import LagMeter, measure_lag
from tests.sinks.support import Recorder, Topics, change, until, working

pytestmark = pytest.mark.anyio


class CountingReader(LogReader):
    """Tells how often it was asked."""

    asked = 0

    async def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        found = await super().ends(partitions)
        self.asked += 1
        return found


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"tradewind_{name}", {"sink": "recorder", **labels})


async def test_what_has_no_outcome_is_behind_until_it_has_one(topics: Topics) -> None:
    held = asyncio.Event()
    sink = Recorder(steps={"1": [held]})
    await topics.send(*(change(number, number % 3) for number in range(1, 31)), partition=2)
    async with working(topics, sink) as worker, LogReader.open(topics.settings, client_id="lag") as reader:
        assert worker.places() is None
        meter = LagMeter(worker.name, worker.group, topics.settings)
        await until(lambda: len(sink.delivered) == 20)
        await meter.look(reader, worker.places() or {})
        # From the first that is not done on, though the others of later are.
        assert shown("sink_lag_records") == 30
        before = shown("sink_lag_seconds") or 0
        assert before > 0
        await meter.look(reader, worker.places() or {})
        assert (shown("sink_lag_seconds") or 0) > before
        held.set()
        await topics.until_all_is_committed()
        await meter.look(reader, worker.places() or {})
        assert (shown("sink_lag_records"), shown("sink_lag_seconds")) == (0, 0)


async def test_what_nobody_has_read_counts_from_the_last_commit_on(topics: Topics) -> None:
    topic = topics.settings.topic_prefix + CHANGES.name
    await topics.send(*(change(number, 1) for number in range(1, 4)), partition=0)
    async with working(topics, Recorder()):
        await topics.until_all_is_committed()
    async with LogReader.open(topics.settings, client_id="lag") as reader:
        unread = dict.fromkeys(await reader.partitions(topic))
        meter = LagMeter("recorder", topics.group, topics.settings)
        await meter.look(reader, unread)
        assert (shown("sink_lag_records"), shown("sink_lag_seconds")) == (0, 0)
        await topics.send(change(4, 1), change(5, 1), partition=0)
        await topics.send(change(6, 2), partition=1)
        await meter.look(reader, unread)
        assert shown("sink_lag_records") == 3
        assert (shown("sink_lag_seconds") or 0) > 0
        await LagMeter("recorder", f"{topics.group}-new", topics.settings).look(reader, unread)
        assert shown("sink_lag_records") == 6


async def test_it_is_measured_while_the_worker_works(topics: Topics) -> None:
    held = asyncio.Event()
    await topics.send(change(1, 1), change(2, 1))
    async with (
        LogReader.open(topics.settings, client_id="lag") as reader,
        working(topics, Recorder(steps={"1": [held]})) as worker,
    ):
        await until(lambda: bool(worker.places()))
        measuring = asyncio.create_task(measure_lag(reader, topics.settings, [worker]))
        await until(lambda: shown("sink_lag_records") == 2)
        held.set()
        measuring.cancel()
        with suppress(asyncio.CancelledError):
            await measuring


async def test_a_broker_that_refuses_to_tell_the_lag_ends_no_worker_and_is_logged_once(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="sinks.lag")
    login = KafkaSaslSettings(mechanism="PLAIN", username="sinks", password=Secret("changed"))
    refused = replace(topics.settings, security="sasl_plaintext", sasl=login)
    sink = Recorder(name="refused")
    async with (
        CountingReader.open(topics.settings, client_id="lag") as reader,
        working(topics, sink) as worker,
        asyncio.TaskGroup() as tasks,
    ):
        assert isinstance(reader, CountingReader)
        await until(lambda: bool(worker.places()))
        measuring = tasks.create_task(measure_lag(reader, refused, [worker], every_s=0.01))
        await until(lambda: reader.asked >= 3)
        await topics.send(change(1, 1))
        await until(lambda: sink.delivered == [("1", 1)])
        measuring.cancel()
    (told,) = (record for record in caplog.records if record.name == "sinks.lag")
    assert (told.getMessage(), told.__dict__["sink"]) == ("sink.lag_unknown", "refused")
    assert "kafka.security" in told.__dict__["reason"]
    assert shown("sink_lag_records", sink="refused") is None


async def test_while_nobody_knows_whose_the_partitions_are_the_lag_stays_and_without_any_it_is_nothing(
    topics: Topics,
) -> None:
    held = asyncio.Event()
    sink = Recorder(name="stays", steps={"1": [held]})
    await topics.send(change(1, 1), change(2, 1), partition=0)
    async with LogReader.open(topics.settings, client_id="lag") as reader, working(topics, sink) as worker:
        measuring = asyncio.create_task(measure_lag(reader, topics.settings, [worker], every_s=0.01))
        await asyncio.sleep(0)  # a look, which needs no answer, for the worker has not joined
        assert worker.places() is None
        assert shown("sink_lag_records", sink="stays") is None
        await until(lambda: shown("sink_lag_records", sink="stays") == 2)
        measuring.cancel()
        await asyncio.wait({measuring})
        async with working(topics, sink, instance="two") as other:
            measuring = asyncio.create_task(measure_lag(reader, topics.settings, [other]))
            await asyncio.sleep(0)
            assert other.places() is None
            assert shown("sink_lag_records", sink="stays") == 2
            measuring.cancel()
            await LagMeter("stays", worker.group, topics.settings).look(reader, {})
            assert (shown("sink_lag_records", sink="stays"), shown("sink_lag_seconds", sink="stays")) == (0, 0)
            held.set()


async def test_open_dead_letters_and_accounts_put_aside_are_shown_and_counters_begin_at_nothing(
    topics: Topics,
) -> None:
    down = RetryLater("down", scope="account", after_s=3600, lasting=True)
    sink = Recorder(name="shown", steps={"1": [Reject("no")], "2": [down]})
    async with working(topics, sink):
        assert shown("deliveries_total", sink="shown", outcome="dead-lettered") == 0
        assert shown("delivery_retries_total", sink="shown") == 0
        await topics.send(change(1, 1, account="acme"), change(2, 2, account="bolt"))
        await until(lambda: shown("open_dead_letters", sink="shown", account="acme") == 1)
        await until(lambda: shown("deliveries_total", sink="shown", outcome="dead-lettered") == 1)
        await until(lambda: shown("parked_account", sink="shown", account="bolt") == 1)
        assert shown("parked_account", sink="shown", account="acme") in (None, 0)
    assert shown("parked_account", sink="shown", account="bolt") == 0
