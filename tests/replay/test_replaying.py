"""Replays on a real broker: what comes is what the live run made of the range, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from audit.audit import audit
from replay.given_rules import GivenRules, find_rules, read_copies
from replay.plan import Plan, read_note
from replay.ranges import PartitionRange, Span, find_ranges
from replay.replaying import Replayed, replay
from runtime.kafka.bookmarks import groups_with, read_bookmarks
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.change import EntityChange, change_record
from schemas.record import LogRecord, header
from schemas.topics import CHANGES, REDRIVE_TO_HEADER, REDRIVES_HEADER, REPLAY_HEADER, WEBHOOKS
from tests.replay.history import PARTITIONS, History, at, history_on

pytestmark = pytest.mark.anyio

SHADOW = "shadow"
ACCOUNTS = ("acme", "bolt", "crew")


def plan_of(history: History, **changed: object) -> Plan:
    values = {
        "id": "test",
        "from_ms": at(10),
        "to_ms": at(30),
        "into": "shadow",
        "topic": history.kafka.topic_prefix + SHADOW,
        "times": history.settings.pipeline,
        "log_epoch": history.kafka.log_epoch,
        **changed,
    }
    prefix = history.kafka.topic_prefix.rstrip(".")
    return Plan(**{**values, "id": f"{values['id']}{prefix}"})  # type: ignore[arg-type]


async def ranges_of(history: History, plan: Plan) -> list[PartitionRange]:
    span = Span(from_ms=plan.from_ms, to_ms=plan.to_ms, accounts=plan.accounts)
    return await find_ranges(history.reader, history.settings, span)


async def run(history: History, plan: Plan, given: GivenRules | None = None) -> Replayed:
    if plan.into == "shadow":
        await ensure_topics(history.kafka, [replace(CHANGES, name=SHADOW, partitions=PARTITIONS)])
    return await replay(history.settings, plan, await ranges_of(history, plan), given=given)


def in_range(changes: list[EntityChange], ranges: list[PartitionRange], home: dict[str, int]) -> list[EntityChange]:
    """What of the live run's changes was opened in the range."""
    bounds = {one.partition.number: one.bounds for one in ranges}
    return [
        change
        for change in changes
        if home[change.account] in bounds
        and bounds[home[change.account]].first <= change.sources[0].offset < bounds[home[change.account]].second
    ]


async def homes(history: History) -> dict[str, int]:
    return {(one.key or b"").decode(): one.partition for one in await history.all(WEBHOOKS.name)}


def as_sent(changes: list[EntityChange]) -> Counter[object]:
    return Counter((key, value, tuple(headers)) for key, value, headers in map(change_record, changes))


def as_found(records: list[LogRecord]) -> Counter[object]:
    return Counter((record.key, record.value, record.headers) for record in records)


async def test_by_the_same_rules_the_same_ids_and_bytes_come_as_from_the_live_run(kafka: KafkaSettings) -> None:
    async with history_on(kafka) as history:
        await history.office(*ACCOUNTS)
        changes = await history.live()
        plan = plan_of(history)
        expected = in_range(changes, await ranges_of(history, plan), await homes(history))
        done = await run(history, plan)
        assert 0 < done.changes == len(expected) < len(changes)
        assert done.still_open == 0
        assert as_found(await history.all(SHADOW)) == as_sent(expected)
        assert done.by_account == Counter(change.account for change in expected)
        assert await groups_with(kafka, plan.group) == []


async def test_into_live_the_topic_of_changes_has_each_twice_and_the_audit_agrees(kafka: KafkaSettings) -> None:
    async with history_on(kafka) as history:
        await history.office(*ACCOUNTS)
        changes = await history.live()
        done = await run(history, plan_of(history, into="live", topic=kafka.topic_prefix + CHANGES.name))
        records = await history.all(CHANGES.name)
        assert as_found(records).keys() == as_sent(changes).keys()
        assert len(records) == len(changes) + done.changes
        report = await audit(history.settings, keep=None, watch=lambda _done, _total: None)
        assert report.agrees, report.differences
        assert report.total("repeats", "change") == done.changes


async def test_of_one_account_and_type_come_theirs_alone(kafka: KafkaSettings) -> None:
    async with history_on(kafka) as history:
        await history.office(*ACCOUNTS)
        changes = await history.live()
        plan = plan_of(history, accounts=("acme",), types=("job",))
        expected = in_range(changes, await ranges_of(history, plan), await homes(history))
        await run(history, plan)
        found = await history.all(SHADOW)
        assert as_found(found) == as_sent([change for change in expected if change.account == "acme"])


async def test_what_the_live_run_has_not_done_is_left_to_it(kafka: KafkaSettings) -> None:
    async with history_on(kafka) as history:
        await history.office("acme")
        changes = await history.live({0: 40, 1: 40})
        done = await run(history, plan_of(history, from_ms=at(0), to_ms=at(3_000)))
        assert as_found(await history.all(SHADOW)) == as_sent(changes)
        assert done.still_open > 0
        assert done.records == 40
        (unread,) = done.unread
        home = (await homes(history))["acme"]
        records = await history.records((await history.partitions())[home])
        assert (unread.partition, unread.records, unread.reached) == (home, len(records) - 40, 40)
        assert unread.reached_ms == records[40].timestamp


async def test_by_other_rules_records_say_that_a_replay_made_them_and_the_audit_takes_them_for_that(
    kafka: KafkaSettings,
) -> None:
    async with history_on(kafka) as history:
        await history.office(*ACCOUNTS)
        changes = await history.live()
        entries, _ = await read_copies(history.reader, history.settings)
        now = await find_rules(history.reader, history.settings, "now", known=entries, accounts=())
        assert now is not None
        plan = plan_of(history, into="live", topic=kafka.topic_prefix + CHANGES.name, rules="now")
        done = await run(history, plan, now)
        made = [one for one in await history.all(CHANGES.name) if header(one, REPLAY_HEADER) == plan.id.encode()]
        assert len(made) == done.changes > 0
        assert {header(one, "ce_id") for one in made}.isdisjoint(change.id.encode() for change in changes)
        report = await audit(history.settings, keep=None, watch=lambda _done, _total: None)
        assert report.agrees, report.differences
        assert report.total("replayed", "change") == done.changes


@pytest.mark.parametrize(("redeliver", "said"), [("mirror", b"mirror"), ("*", b"*")])
async def test_what_is_to_be_delivered_again_says_to_whom_and_the_audit_agrees(
    kafka: KafkaSettings, redeliver: str, said: bytes
) -> None:
    async with history_on(kafka) as history:
        await history.office("acme", seconds=12)
        changes = await history.live()
        plan = plan_of(
            history,
            from_ms=at(0),
            into="live",
            topic=kafka.topic_prefix + CHANGES.name,
            redeliver=redeliver,
        )
        await run(history, plan)
        again = [one for one in await history.all(CHANGES.name) if header(one, REDRIVE_TO_HEADER) == said]
        assert len(again) == len(changes)
        assert {header(one, REDRIVES_HEADER) for one in again} == {b"1"}
        report = await audit(history.settings, keep=None, watch=lambda _done, _total: None)
        assert report.agrees, report.differences


async def test_what_was_sent_after_the_last_save_of_a_killed_replay_is_sent_again_as_it_was(
    kafka: KafkaSettings,
) -> None:
    async with history_on(kafka) as history:
        await history.office(*ACCOUNTS)
        changes = await history.live()
        plan = plan_of(history)
        await ensure_topics(kafka, [replace(CHANGES, name=SHADOW, partitions=PARTITIONS)])
        ranges = await ranges_of(history, plan)
        expected = as_sent(in_range(changes, ranges, await homes(history)))

        def die(_read: int, _total: int, _changes: int) -> None:
            raise KilledError

        with pytest.raises(KilledError):
            await replay(history.settings, plan, ranges, watch=die)
        saved = {
            partition: (mark.position, read_note(mark.note).is_over)
            for partition, mark in (await read_bookmarks(kafka, plan.group)).items()
        }
        assert {partition: at for partition, (at, _) in saved.items()} == {
            one.partition: one.bounds.first for one in ranges
        }
        await replay(history.settings, plan, ranges, saved=saved)
        found = as_found(await history.all(SHADOW))
        assert found.keys() == expected.keys()
        assert found - expected - expected == Counter()


class KilledError(Exception):
    """As sudden as a kill -9 to what was not saved."""


async def test_a_replay_that_is_cancelled_goes_on_where_it_was_with_what_is_noted_beside_its_positions(
    kafka: KafkaSettings,
) -> None:
    async with history_on(kafka) as history:
        await history.office(*ACCOUNTS)
        changes = await history.live()
        plan = plan_of(history)
        await ensure_topics(kafka, [replace(CHANGES, name=SHADOW, partitions=PARTITIONS)])
        ranges = await ranges_of(history, plan)
        expected = in_range(changes, ranges, await homes(history))

        def die(_read: int, _total: int, _changes: int) -> None:
            task.cancel()

        task = asyncio.create_task(replay(history.settings, plan, ranges, watch=die))
        with pytest.raises(asyncio.CancelledError):
            await task
        marks = await read_bookmarks(kafka, plan.group)
        notes = {partition: read_note(mark.note) for partition, mark in marks.items()}
        assert {note.plan for note in notes.values()} == {plan}
        before = await history.all(SHADOW)
        saved = {partition: (mark.position, notes[partition].is_over) for partition, mark in marks.items()}
        done = await replay(history.settings, plan, ranges, saved=saved)
        found = await history.all(SHADOW)
        # What was on its way arrived and was noted: nothing is sent twice.
        assert as_found(found) == as_sent(expected)
        assert len(before) + done.changes == len(found)
        assert await read_bookmarks(kafka, plan.group) == {}
