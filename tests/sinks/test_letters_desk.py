"""Letters are resolved step by step: whatever breaks in between, or whoever does the same, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from runtime.database import open_database
from runtime.kafka import LogReader
from runtime.settings import KafkaSettings, StoreSettings
from runtime.store_schema import upgrade
from schemas.deadletter import redrives_of
from schemas.errors import Reject
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS
from sinks.letter_desk import STEPS, Clerk, LetterDesk
from sinks.letters import LetterId, Wanted
from sinks.open_letters import OpenLetters
from sinks.steps import At, pass_by
from tests.sinks.letter_making import Office, open_office
from tests.sinks.making import change
from tests.sinks.support import Recorder, Topics, until, working

pytestmark = pytest.mark.anyio


class Desk:
    """A desk with a store, as `tradewind deadletters` opens it."""

    def __init__(self, office: Office, letters: OpenLetters, reader: LogReader) -> None:
        self.office = office
        self.letters = letters
        self.desk = LetterDesk(reader, office.name(DEADLETTERS))

    async def bury(self, numbers: Sequence[int], *, key: bytes = b"acme/job/1") -> list[LetterId]:
        """As a sink does: noted in the store, then sent."""
        buried = []
        for number in numbers:
            record = LogRecord(topic=self.office.name(CHANGES), partition=3, offset=number, timestamp=0)
            await self.letters.add("mirror", "acme", record)
            buried.append(await self.office.bury(key=key, value=str(number).encode(), offset=number))
        return buried

    async def redrive(self, *, at: At = pass_by) -> int:
        """Everything that is open; returns how many letters that were."""
        clerk = Clerk(self.desk, self.office.producer, self.letters, at=at)
        shelves = await self.desk.survey(Wanted())
        return sum([await clerk.redrive(shelf, shelf.resolvable()) for shelf in shelves])

    async def open(self) -> int:
        return sum(len(shelf.offsets()) for shelf in await self.desk.survey(Wanted()))

    async def copies(self) -> list[bytes]:
        return [record.value or b"" for record in await self.office.records(CHANGES)]

    async def counted(self) -> int:
        """Letters that the cap counts."""
        return (await self.letters.counts("mirror", newer_than_ms=0)).get("acme", 0)


@pytest.fixture
async def desk(kafka: KafkaSettings, sqlite_settings: StoreSettings) -> AsyncIterator[Desk]:
    async with (
        open_office(kafka) as office,
        open_database(sqlite_settings) as engine,
        LogReader.open(kafka, client_id="desk") as reader,
    ):
        await upgrade(engine)
        yield Desk(office, OpenLetters(engine), reader)


class CrashError(Exception):
    """Not one that anybody expects."""


def crashing(step: str) -> At:
    def at(reached: str) -> None:
        if reached == step:
            raise CrashError(step)

    return at


@pytest.mark.parametrize("step", STEPS)
async def test_who_dies_between_two_steps_loses_nothing_and_leaves_nothing_counted(desk: Desk, step: str) -> None:
    await desk.bury(range(3))
    with pytest.raises(CrashError):
        await desk.redrive(at=crashing(step))
    copies = await desk.copies()
    assert copies == [b"0", b"1", b"2"]
    left = 0 if step == "resolved" else 3
    assert await desk.open() == left
    assert await desk.redrive() == left
    assert await desk.copies() == copies + copies[:left]
    assert (await desk.open(), await desk.counted()) == (0, 0)


async def test_two_people_who_redrive_at_once_do_no_harm_beyond_a_repeat(desk: Desk, kafka: KafkaSettings) -> None:
    await desk.bury(range(20))
    async with LogReader.open(kafka, client_id="other") as reader:
        other = Desk(desk.office, desk.letters, reader)
        await asyncio.gather(desk.redrive(), other.redrive())
    copies = Counter(await desk.copies())
    assert set(copies) == {str(number).encode() for number in range(20)}
    assert max(copies.values()) <= 2
    first = list(dict.fromkeys(await desk.copies()))
    assert first == sorted(first, key=int)
    assert (await desk.open(), await desk.counted()) == (0, 0)


async def test_what_somebody_resolved_since_it_was_looked_at_is_left_alone(desk: Desk) -> None:
    await desk.bury(range(4))
    shelves = [shelf for shelf in await desk.desk.survey(Wanted()) if shelf.offsets()]
    (shelf,) = shelves
    clerk = Clerk(desk.desk, desk.office.producer, desk.letters)
    open_then = shelf.resolvable()
    assert await desk.redrive() == 4
    await desk.bury([4])
    told: list[int] = []
    assert await clerk.redrive(shelf, open_then, watch=told.append) == 0
    assert sum(told) == 4
    assert len(await desk.copies()) == 4
    assert await desk.open() == 1


async def test_reading_and_redriving_tell_how_far_they_are(desk: Desk) -> None:
    await desk.bury(range(30), key=b"acme/job/1")
    await desk.bury(range(30, 50), key=b"acme/job/2")
    told: list[tuple[int, int]] = []
    shelves = await desk.desk.survey(Wanted(), watch=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (50, 50)
    done: list[int] = []
    clerk = Clerk(desk.desk, desk.office.producer, desk.letters)
    for shelf in shelves:
        await clerk.drop(shelf, shelf.resolvable(), reason="a test", watch=done.append)
    assert sum(done) == 50
    assert await desk.copies() == []


async def test_letters_far_apart_and_large_are_read_again_with_all_their_bytes(desk: Desk) -> None:
    wanted = {}
    for number in range(420):
        value = bytes([number % 251]) * (700_000 if number % 60 == 0 else 3)
        letter = await desk.office.bury(value=value, error="wanted" if number % 205 == 0 else "other")
        if number % 205 == 0:
            wanted[letter.offset] = value
    (shelf,) = [one for one in await desk.desk.survey(Wanted(error="wanted")) if one.offsets()]
    assert list(shelf.offsets()) == list(wanted)
    batches = [batch async for batch in desk.desk.letters(shelf.partition, shelf.offsets())]
    assert {record.offset: record.value for batch in batches for _, record in batch} == wanted


# -- with a sink's worker --------------------------------------------------------------------------------------------


async def test_a_redriven_change_that_fails_again_comes_back_with_its_count_raised(topics: Topics) -> None:
    sink = Recorder(name="mirror", steps={"1": [Reject("once"), Reject("twice")]})
    await topics.send(change(1, 1), change(2, 2))
    letters = topics.stores.letters
    async with LogReader.open(topics.settings, client_id="desk") as reader, working(topics, sink):
        await topics.until_all_is_committed()
        desk = LetterDesk(reader, topics.settings.topic_prefix + DEADLETTERS.name)
        clerk = Clerk(desk, topics.producer, letters)
        for redrives in (0, 1):
            shelves = [shelf for shelf in await desk.survey(Wanted()) if shelf.offsets()]
            (shelf,) = shelves
            ((letter, _),) = [one async for batch in desk.letters(shelf.partition, shelf.offsets()) for one in batch]
            assert letter.redrives == redrives
            assert await letters.counts("mirror", newer_than_ms=0) == {"acme": 1}
            assert await clerk.redrive(shelf, shelf.resolvable()) == 1
            await until(lambda number=redrives: len(sink.again) > number)  # type: ignore[misc]
            await topics.until_all_is_committed()
        assert await letters.counts("mirror", newer_than_ms=0) == {}
        assert not [shelf for shelf in await desk.survey(Wanted()) if shelf.offsets()]
    assert sorted(sink.called) == [("1", 1), ("1", 1), ("1", 1), ("2", 2)]
    assert sink.again == [1, 1]
    assert sink.of(1) == [1]
    assert sorted(redrives_of(record) for record in await topics.records(CHANGES)) == [0, 0, 1, 2]


async def test_a_change_that_was_redriven_to_one_sink_is_passed_over_by_the_others(topics: Topics) -> None:
    sink = Recorder(name="custom/other")
    await topics.send(change(1, 1))
    (record,) = await topics.records(CHANGES)
    headers = [*record.headers, ("x-redrive-to", b"mirror"), ("x-redrives", b"1")]
    await topics.send_raw(record.key or b"", record.value or b"", headers, record.partition)
    async with working(topics, sink):
        await topics.until_all_is_committed()
    assert sink.called == [("1", 1)]
    assert len(await topics.deliveries()) == 1
