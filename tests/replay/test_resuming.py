"""What a replay that is gone on with needs of the log, and what it leaves beside its positions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from replay.outlet import Outlet
from replay.plan import Plan, read_note
from replay.ranges import Span, find_ranges
from replay.replaying import replay
from runtime.kafka import Partition
from runtime.kafka.bookmarks import Bookmark, Bookmarks, groups_with, read_bookmarks
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings, Settings
from schemas.change import EntityChange
from schemas.encoding import encode
from schemas.errors import LogGapError, SettingsError
from schemas.topics import CHANGES
from tests.processors.pipeline import job, removed_before
from tests.replay.history import PARTITIONS, History, at, history_on

pytestmark = pytest.mark.anyio

LONG_AGO_S = -3 * 86_400
"""Three days before the other histories: more than the retention of these tests."""
POSTS = 40
SPAN = Span(from_ms=at(LONG_AGO_S), to_ms=at(LONG_AGO_S + 200))


@pytest.fixture
async def history(kafka: KafkaSettings) -> AsyncIterator[History]:
    async with history_on(kafka) as opened:
        await ensure_topics(kafka, [replace(CHANGES, name="shadow", partitions=PARTITIONS)])
        yield opened


@pytest.fixture
def settings(history: History) -> Settings:
    """With a retention of a day."""
    return replace(history.settings, kafka=replace(history.kafka, retention_days=1))


def plan_of(history: History) -> Plan:
    return Plan(
        id=history.kafka.topic_prefix.rstrip("."),
        from_ms=SPAN.from_ms,
        to_ms=SPAN.to_ms,
        into="shadow",
        topic=history.kafka.topic_prefix + "shadow",
        times=history.settings.pipeline,
        log_epoch=history.kafka.log_epoch,
    )


async def long_ago(history: History) -> tuple[Partition, list[EntityChange]]:
    """A webhook a second; returns where they are, and what the live run made of them."""
    for number in range(POSTS):
        await history.post("acme", LONG_AGO_S + number, job(number % 3))
    await history.tick("acme", LONG_AGO_S + 100)
    changes = await history.live()
    (home,) = [one for one in await history.partitions() if await history.reader.end(one)]
    return home, changes


async def test_of_the_log_before_its_position_it_needs_no_more_than_the_state_does(
    history: History, settings: Settings
) -> None:
    home, changes = await long_ago(history)
    await removed_before(history.kafka, home, 3)
    with pytest.raises(LogGapError, match="retention removed part of"):
        await find_ranges(history.reader, settings, SPAN)
    saved = {home: (POSTS - 5, False)}
    ranges = await find_ranges(history.reader, settings, SPAN, saved)
    done = await replay(settings, plan_of(history), ranges, saved=saved)
    found = {record.value for record in await history.all("shadow")}
    assert (done.records, len(found)) == (6, done.changes)
    assert {encode(change) for change in changes if change.sources[0].offset >= POSTS - 5} <= found
    assert found < {encode(change) for change in changes}


@pytest.mark.parametrize("kept_from", [3, POSTS + 1])
async def test_one_of_which_all_is_over_ends_whatever_retention_has_left(
    history: History, settings: Settings, kept_from: int
) -> None:
    home, _ = await long_ago(history)
    await removed_before(history.kafka, home, kept_from)
    saved = {home: (POSTS + 1, True)}
    plan, ranges = plan_of(history), await find_ranges(history.reader, settings, SPAN, saved)
    done = await replay(settings, plan, ranges, saved=saved)
    assert (done.records, done.changes, done.unread) == (0, 0, [])
    assert await groups_with(history.kafka, plan.group) == []


async def test_what_retention_has_taken_since_is_not_passed_over(history: History, settings: Settings) -> None:
    home, _ = await long_ago(history)
    await removed_before(history.kafka, home, POSTS + 1)
    saved = {home: (7, False)}
    ranges = await find_ranges(history.reader, settings, SPAN, saved)
    with pytest.raises(LogGapError, match=f"{POSTS + 1 - 7} records are lost to retention"):
        await replay(settings, plan_of(history), ranges, saved=saved)


async def test_under_other_settings_nothing_is_sent_nor_noted(history: History, settings: Settings) -> None:
    home, _ = await long_ago(history)
    saved, plan = {home: (7, False)}, plan_of(history)
    ranges = await find_ranges(history.reader, settings, SPAN, saved)
    other, told = replace(settings, kafka=replace(settings.kafka, log_epoch=2)), []
    with pytest.raises(SettingsError, match=r"kafka\.log_epoch = 1 \(here: 2\)"):
        await replay(other, plan, ranges, saved=saved, begun=lambda: told.append(1))
    assert told == []
    assert await history.all("shadow") == []
    assert await read_bookmarks(history.kafka, plan.group) == {}


async def test_it_says_when_it_can_be_gone_on_with_and_that_is_so(history: History) -> None:
    await long_ago(history)
    plan, ranges = plan_of(history), await find_ranges(history.reader, history.settings, SPAN)

    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        await replay(history.settings, plan, ranges, begun=stop)
    marks = await read_bookmarks(history.kafka, plan.group)
    assert {one: mark.position for one, mark in marks.items()} == {one.partition: one.bounds.first for one in ranges}


class StoppedError(Exception):
    """Whoever is told stops it."""


async def test_every_save_sets_the_marks_of_all_partitions_for_each_is_forgotten_by_itself(history: History) -> None:
    plan = plan_of(history)
    one, other = await history.partitions()
    async with Bookmarks.open(history.kafka, plan.group) as bookmarks:
        outlet = Outlet(history.producer, bookmarks, plan)
        outlet.note(one, 1, is_over=False)
        outlet.note(other, 2, is_over=True)
        await outlet.save()
        # As good as forgotten.
        await bookmarks.put({other: Bookmark(0, "")})
        await outlet.end(one, 5, is_over=False)
    marks = await read_bookmarks(history.kafka, plan.group)
    assert {partition: mark.position for partition, mark in marks.items()} == {one: 5, other: 2}
    assert [read_note(marks[partition].note).is_over for partition in (one, other)] == [False, True]
