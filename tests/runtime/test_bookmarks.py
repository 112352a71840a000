"""Positions with notes, kept by a real broker."""

from __future__ import annotations

import pytest

from runtime.kafka import KafkaError, Partition
from runtime.kafka.bookmarks import MAX_NOTE, Bookmark, Bookmarks, delete_group, groups_with, read_bookmarks
from runtime.kafka.topics import ensure_topics
from runtime.settings import KafkaSettings
from schemas.topics import WEBHOOKS

pytestmark = [pytest.mark.anyio, pytest.mark.containers]


async def test_what_was_set_last_is_what_anybody_reads_until_the_group_is_deleted(kafka: KafkaSettings) -> None:
    await ensure_topics(kafka, [WEBHOOKS])
    group, topic = f"{kafka.topic_prefix}marks", kafka.topic_prefix + WEBHOOKS.name
    one, two = Partition(topic, 1), Partition(topic, 2)
    assert await read_bookmarks(kafka, group) == {}
    async with Bookmarks.open(kafka, group) as bookmarks:
        await bookmarks.put({one: Bookmark(5, "first")})
        await bookmarks.put({one: Bookmark(6, "second"), two: Bookmark(0, "n" * MAX_NOTE)})
        await bookmarks.put({one: Bookmark(3, "back")})
    assert await read_bookmarks(kafka, group) == {one: Bookmark(3, "back"), two: Bookmark(0, "n" * MAX_NOTE)}
    assert await groups_with(kafka, kafka.topic_prefix) == [group]
    await delete_group(kafka, group)
    await delete_group(kafka, group)
    assert await read_bookmarks(kafka, group) == {}


async def test_a_note_that_is_too_long_is_refused(kafka: KafkaSettings) -> None:
    await ensure_topics(kafka, [WEBHOOKS])
    async with Bookmarks.open(kafka, f"{kafka.topic_prefix}marks") as bookmarks:
        with pytest.raises(KafkaError):
            await bookmarks.put({Partition(kafka.topic_prefix + WEBHOOKS.name, 1): Bookmark(5, "n" * (MAX_NOTE + 1))})
