"""Reads servicetrade.deadletters, and does with a letter what a person wants: sends it back, or drops it.

One letter: its copy is on the topic that it came from, it no longer counts against its account's cap, and only then its
resolution is on record, each acknowledged before the next. Whoever dies in between has left it open: it may be redriven
once more, and is never lost.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from runtime.kafka import LogReader, Partition, Producer, acknowledged
from schemas.deadletter import DeadLetter, Resolution, is_resolution, read_dead_letter, read_resolution
from schemas.record import LogRecord
from sinks.letters import LetterId, Original, Shelf, stretches
from sinks.redrive import redriven
from sinks.steps import At, pass_by

if TYPE_CHECKING:
    # To look at letters takes no store.
    from sinks.open_letters import OpenLetters

STEPS = (
    "copied",  # copies of letters are on the topics that they came from, and the letters still open
    "forgotten",  # they no longer count against their accounts' caps
    "resolved",  # their resolutions are on record
)

AT_ONCE = 500
"""Letters that take the steps together."""

Watch = Callable[[int, int], None]
"""Told how much is done, and how much there is to do in all."""


class LetterDesk:
    """Finds letters.

    Args:
        reader: not used by anyone else meanwhile.
        topic: full name of servicetrade.deadletters.
    """

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

    async def survey(
        self,
        wanted: Callable[[DeadLetter, LogRecord], bool],
        obstacle: Callable[[DeadLetter, LogRecord], str | None] = lambda _letter, _record: None,
        *,
        watch: Watch = lambda _done, _all: None,
    ) -> list[Shelf]:
        """Read the whole topic; only places and states are kept in memory (see `sinks.letters.Shelf`).

        Raises:
            KafkaError: there is no such topic, or the broker is gone.
        """
        starts = {one: await self._reader.beginning(one) for one in await self._reader.partitions(self._topic)}
        shelves = {one: Shelf(one.number, start, wanted, obstacle) for one, start in starts.items()}
        return await self._read(shelves, watch)

    async def look_up(
        self,
        letter_ids: Collection[LetterId],
        obstacle: Callable[[DeadLetter, LogRecord], str | None] = lambda _letter, _record: None,
        *,
        watch: Watch = lambda _done, _all: None,
    ) -> list[Shelf]:
        """Read what has to be known of these letters: their partitions, each from the first of them on."""
        first: dict[int, int] = {}
        for letter_id in letter_ids:
            first[letter_id.partition] = min(letter_id.offset, first.get(letter_id.partition, letter_id.offset))

        def wanted(_: DeadLetter, record: LogRecord) -> bool:
            return LetterId(record.partition, record.offset) in letter_ids

        shelves = {}
        for one in await self._reader.partitions(self._topic):
            if one.number in first:
                start = max(first[one.number], await self._reader.beginning(one))
                shelves[one] = Shelf(one.number, start, wanted, obstacle)
        return await self._read(shelves, watch)

    async def _read(self, shelves: Mapping[Partition, Shelf], watch: Watch) -> list[Shelf]:
        ends = await self._reader.ends(list(shelves)) if shelves else {}
        sizes = {one: max(0, ends[one] - shelf.start) for one, shelf in shelves.items()}
        done = 0
        for partition, shelf in shelves.items():
            async for batch in self._reader.read(partition, shelf.start, ends[partition]):
                shelf.put(batch)
                watch(done + shelf.end - shelf.start, sum(sizes.values()))
            done += sizes[partition]
        return list(shelves.values())

    async def catch_up(self, shelf: Shelf) -> None:
        """Read what was appended since: somebody else may have resolved the same letters."""
        partition = Partition(self._topic, shelf.partition)
        async for batch in self._reader.read(partition, shelf.end, await self._reader.end(partition)):
            shelf.put(batch)

    async def letters(
        self, partition: int, offsets: Sequence[int]
    ) -> AsyncIterator[list[tuple[DeadLetter, LogRecord]]]:
        """The letters that stand at these offsets, which ascend, with all their bytes; in batches of some 4 MiB."""
        at = 0
        for start, stop in stretches(offsets):
            async for batch in self._reader.read(Partition(self._topic, partition), start, stop):
                found = []
                for record in batch:
                    if at < len(offsets) and record.offset == offsets[at]:
                        found.append((read_dead_letter(record.headers), record))
                        at += 1
                for first in range(0, len(found), AT_ONCE):
                    yield found[first : first + AT_ONCE]

    async def resolution_of(self, letter_id: LetterId) -> tuple[int, Resolution] | None:
        """When a letter was resolved, Unix milliseconds, and how; None: it is open."""
        partition = Partition(self._topic, letter_id.partition)
        async for batch in self._reader.read(partition, letter_id.offset, await self._reader.end(partition)):
            for record in filter(is_resolution, batch):
                with suppress(ValueError):
                    if (resolution := read_resolution(record)).offset == letter_id.offset:
                        return record.timestamp, resolution
        return None


class Clerk:
    """Resolves letters that the desk has found.

    Args:
        desk: reads them once more.
        producer: of this process.
        open_letters: what the sinks' caps count.
        at: see `sinks.steps`.
    """

    def __init__(self, desk: LetterDesk, producer: Producer, open_letters: OpenLetters, *, at: At = pass_by) -> None:
        self._desk = desk
        self._producer = producer
        self._open_letters = open_letters
        self._at = at

    async def redrive(
        self, shelf: Shelf, offsets: Sequence[int], *, watch: Callable[[int], None] = lambda _number: None
    ) -> int:
        """Send letters back to where they came from, each to the one who gave it up; in their order.

        Args:
            shelf: of the partition.
            offsets: letters that were open; those that are not by now are left alone.
            watch: told of each further number of letters that are done.

        Returns:
            How many were redriven.

        Raises:
            KafkaError: something was not acknowledged; the letters from there on are open, copied or not.
            StoreError: the same.
        """
        return await self._resolve(shelf, offsets, Resolution(what="redriven", offset=0), watch)

    async def drop(
        self,
        shelf: Shelf,
        offsets: Sequence[int],
        *,
        reason: str,
        watch: Callable[[int], None] = lambda _number: None,
    ) -> int:
        """Note that letters are not to be used any more, and why; else as `redrive`."""
        return await self._resolve(shelf, offsets, Resolution(what="dropped", offset=0, reason=reason), watch)

    async def _resolve(
        self, shelf: Shelf, offsets: Sequence[int], resolution: Resolution, watch: Callable[[int], None]
    ) -> int:
        await self._desk.catch_up(shelf)
        still_open = array("q", (offset for offset in offsets if shelf.state(offset) == "open"))
        watch(len(offsets) - len(still_open))
        async for letters in self._desk.letters(shelf.partition, still_open):
            if resolution.what == "redriven":
                await self._producer.send_all([redriven(letter, record) for letter, record in letters])
                self._at("copied")
            await self._open_letters.remove_all(
                [Original(letter.stage, letter.topic, letter.partition, letter.offset) for letter, _ in letters]
            )
            self._at("forgotten")
            await self._note(resolution, [record for _, record in letters])
            self._at("resolved")
            watch(len(letters))
        return len(still_open)

    async def _note(self, resolution: Resolution, records: Iterable[LogRecord]) -> None:
        sent = [
            await self._producer.send(
                record.topic,
                key=record.key,
                value=b"",
                headers=Resolution(what=resolution.what, offset=record.offset, reason=resolution.reason).headers(),
                partition=record.partition,  # of the letter, by whomever it was written
            )
            for record in records
        ]
        await asyncio.gather(*(acknowledged(one) for one in sent))
