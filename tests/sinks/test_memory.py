"""Every change has its effect at least once, in order per entity, and a repeat has none, whoever crashes when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.database import create_tables, open_database
from runtime.settings import StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.change import EntityChange
from schemas.errors import Reject, RetryLater
from sinks.arrival import Arrival
from sinks.memory import AT_ONCE, STEPS, Remembering
from sinks.memory_store import METADATA, MemoryStore
from sinks.outcome import ALREADY_DELIVERED, Delivered
from sinks.sink import Fate
from tests.sinks.making import arrived, change

pytestmark = pytest.mark.anyio


@dataclass
class Notebook:
    """Acts by writing down the number of the change; raises what it is told to."""

    acted: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    name: str = "custom/notebook"
    fate: Fate = "account"

    async def act(self, arrival: Arrival[EntityChange]) -> None:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        self.acted.append(int(arrival.item.sequence[5:21]))


@pytest.fixture
async def engine(sqlite_settings: StoreSettings) -> AsyncIterator[AsyncEngine]:
    async with open_database(sqlite_settings) as found:
        await upgrade(found)
        yield found


@pytest.fixture
def store(engine: AsyncEngine) -> MemoryStore:
    return MemoryStore(engine)


def arrivals(*numbers: int) -> list[Arrival[EntityChange]]:
    return [arrived(change(number)) for number in numbers]


async def test_it_is_the_sink_that_it_wraps(store: MemoryStore) -> None:
    sink = Remembering(Notebook(), store)
    assert (sink.name, sink.fate) == ("custom/notebook", "account")


async def test_changes_have_their_effect_one_by_one(store: MemoryStore) -> None:
    notebook = Notebook()
    sink = Remembering(notebook, store)
    assert await sink.deliver(arrivals(1, 2, 3)) == [Delivered()] * 3
    assert await sink.deliver(arrivals(2, 3)) == [ALREADY_DELIVERED] * 2
    assert notebook.acted == [1, 2, 3]


async def test_so_many_changes_at_once_that_a_busy_entity_does_not_hold_its_slot_for_long(store: MemoryStore) -> None:
    sink = Remembering(Notebook(), store)
    many = arrivals(*range(1, 3 * AT_ONCE))
    assert await sink.deliver(many) == [Delivered()] * AT_ONCE
    assert await sink.deliver(many) == [ALREADY_DELIVERED] * AT_ONCE + [Delivered()] * AT_ONCE


async def test_a_failure_is_told_when_its_change_is_the_first_and_takes_nothing_from_those_before_it(
    store: MemoryStore,
) -> None:
    notebook = Notebook()
    sink = Remembering(notebook, store)
    assert await sink.deliver(arrivals(1)) == [Delivered()]
    notebook.errors = [RetryLater("later")]
    assert await sink.deliver(arrivals(1, 2)) == [ALREADY_DELIVERED]
    notebook.errors = [RetryLater("later")]
    with pytest.raises(RetryLater):
        await sink.deliver(arrivals(2, 3))
    assert await sink.deliver(arrivals(2, 3)) == [Delivered()] * 2
    assert notebook.acted == [1, 2, 3]


async def test_repeats_have_no_effect(store: MemoryStore) -> None:
    notebook = Notebook()
    sink = Remembering(notebook, store)
    await sink.deliver(arrivals(2))
    assert await sink.deliver(arrivals(1, 2, 2, 3, 1)) == [*[ALREADY_DELIVERED] * 3, Delivered(), ALREADY_DELIVERED]
    assert notebook.acted == [2, 3]


async def test_what_a_person_has_redriven_has_its_effect_again_and_takes_nothing_back(store: MemoryStore) -> None:
    notebook = Notebook()
    sink = Remembering(notebook, store)
    await sink.deliver(arrivals(5))
    assert await sink.deliver([arrived(change(3), again=True), *arrivals(4, 6)]) == [
        Delivered(),
        ALREADY_DELIVERED,
        Delivered(),
    ]
    assert notebook.acted == [5, 3, 6]


@pytest.mark.parametrize("error", [RetryLater("later"), Reject("never"), ZeroDivisionError()])
async def test_an_effect_that_failed_is_not_remembered(store: MemoryStore, error: Exception) -> None:
    notebook = Notebook(errors=[error])
    sink = Remembering(notebook, store)
    with pytest.raises(type(error)):
        await sink.deliver(arrivals(1))
    assert await sink.deliver(arrivals(1)) == [Delivered()]


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_repeats_the_effect_only_if_it_comes_before_the_memory(store: MemoryStore, step: str) -> None:
    notebook = Notebook()

    def crash(reached: str) -> None:
        if reached == step:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Remembering(notebook, store, at=crash).deliver(arrivals(1))
    again = await Remembering(notebook, store).deliver(arrivals(1))
    expected = {
        "acting": ([Delivered()], [1]),
        "acted": ([Delivered()], [1, 1]),
        "remembered": ([ALREADY_DELIVERED], [1]),
    }
    assert (again, notebook.acted) == expected[step]


async def test_an_effect_that_could_not_be_written_down_is_not_repeated_for_it(
    engine: AsyncEngine, store: MemoryStore
) -> None:
    notebook = Notebook()

    class FailingAfterwards(Notebook):
        async def act(self, arrival: Arrival[EntityChange]) -> None:
            await notebook.act(arrival)
            async with engine.begin() as connection:
                await connection.run_sync(METADATA.drop_all)

    sink = Remembering(FailingAfterwards(), store)
    for _ in range(3):
        with pytest.raises(RetryLater) as caught:
            await sink.deliver(arrivals(1, 2))
        assert caught.value.scope == "sink"
    await create_tables(engine, METADATA)
    assert await sink.deliver(arrivals(1)) == [Delivered()]
    assert notebook.acted == [1]
    assert await store.last_sequence(sink.name, change(1)) == change(1).sequence


async def test_a_memory_that_cannot_be_read_delays(engine: AsyncEngine, store: MemoryStore) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
    notebook = Notebook()
    with pytest.raises(RetryLater) as caught:
        await Remembering(notebook, store).deliver(arrivals(1))
    assert (caught.value.scope, notebook.acted) == ("sink", [])


async def test_partitions_that_move_and_come_back_find_what_was_done_meanwhile(
    sqlite_settings: StoreSettings, store: MemoryStore
) -> None:
    notebook = Notebook()
    here = Remembering(notebook, store)
    await here.deliver(arrivals(1))
    async with open_database(sqlite_settings) as engine:
        there = Remembering(notebook, MemoryStore(engine))
        assert await there.deliver(arrivals(1)) == [ALREADY_DELIVERED]
        await there.deliver(arrivals(2))
    assert await here.deliver(arrivals(2, 3)) == [ALREADY_DELIVERED, Delivered()]
    assert notebook.acted == [1, 2, 3]


class Crashed(Exception):
    """A worker died."""


@dataclass
class Member:
    """A worker of the group: reads on from the offset that was committed when it joined."""

    sink: Remembering
    offset: int


class Group:
    """Workers on one partition: they crash, they are overtaken, and the overtaken ones go on for a while."""

    def __init__(self, log: Sequence[int], store: MemoryStore, chance: random.Random) -> None:
        self.log = log
        self.notebook = Notebook()
        self._store = store
        self._chance = chance
        self._committed = 0
        self._crashes = 6
        self.owner = self._join()

    def _join(self) -> Member:
        return Member(Remembering(self.notebook, self._store, at=self._at), self._committed)

    def _at(self, _step: str) -> None:
        if self._crashes and self._chance.random() < 0.15:
            self._crashes -= 1
            raise Crashed

    async def turn(self) -> None:
        overtaken = None
        if self._chance.random() < 0.2:
            overtaken, self.owner = self.owner, self._join()
        moves = [self._move(member) for member in (overtaken, self.owner) if member is not None]
        survived = await asyncio.gather(*moves)
        if not survived[-1]:
            self.owner = self._join()
        elif self._chance.random() < 0.5:
            self._committed = self.owner.offset

    async def _move(self, member: Member) -> bool:
        given = self.log[member.offset : member.offset + self._chance.randint(1, 3)]
        if given:
            waiting = [arrived(change(number), offset=member.offset + n) for n, number in enumerate(given)]
            try:
                member.offset += len(await member.sink.deliver(waiting))
            except Crashed:
                return False
        return True


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 2**32))
def test_first_occurrences_are_all_there_and_in_order_whoever_crashes_and_whoever_is_overtaken(
    steps_back: list[int], seed: int
) -> None:
    # A log in which every change comes once, and after it some of those before it again.
    log = [
        again for number, back in enumerate(steps_back, 1) for again in (number, *range(max(1, number - back), number))
    ]

    async def run(folder: str) -> list[int]:
        url = f"sqlite+aiosqlite:///{Path(folder)}/store.db"
        async with open_database(StoreSettings(url=url, key=Secret(Fernet.generate_key().decode()))) as engine:
            store = MemoryStore(engine)
            await create_tables(engine, METADATA)
            group = Group(log, store, random.Random(seed))
            while group.owner.offset < len(log):
                await group.turn()
            return group.notebook.acted

    with TemporaryDirectory() as folder:
        acted = asyncio.run(run(folder))
    assert list(dict.fromkeys(acted)) == list(range(1, len(steps_back) + 1))
