"""Counts the dead letters that nobody has dealt with, from the topic itself, by who gave up and by account."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence

from runtime.kafka import LogReader, Partition
from runtime.settings import KafkaSettings
from schemas.deadletter import is_resolution, read_dead_letter, read_resolution
from schemas.record import LogRecord
from schemas.topics import DEADLETTERS
from sinks.letters import account_of
from views.status_data import OpenLetters

READ_S = 4.0
"""So long the topic is read at a time; the next look goes on from there."""


class OpenLetterCount:
    """The open letters of one topic, by partition and offset."""

    def __init__(self) -> None:
        self._open: defaultdict[int, dict[int, tuple[str, str]]] = defaultdict(dict)

    def put(self, records: Sequence[LogRecord]) -> None:
        """Take the next records of a partition; those that are nothing of ours count as nothing."""
        for record in records:
            letters = self._open[record.partition]
            try:
                if is_resolution(record):
                    letters.pop(read_resolution(record).offset, None)
                else:
                    letters[record.offset] = (read_dead_letter(record.headers).stage, account_of(record))
            except ValueError:
                continue

    def forget_before(self, partition: int, offset: int) -> None:
        """Retention has removed what stood before."""
        letters = self._open[partition]
        for gone in [one for one in letters if one < offset]:
            del letters[gone]

    def counts(self) -> dict[str, dict[str, int]]:
        """How many are open, by stage and account."""
        together = Counter(owner for letters in self._open.values() for owner in letters.values())
        found: dict[str, dict[str, int]] = {}
        for (stage, account), count in sorted(together.items()):
            found.setdefault(stage, {})[account] = count
        return found


class LettersReader:
    """Reads servicetrade.deadletters, as often as it is asked: the first time all of it, later what was added."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._count = OpenLetterCount()
        self._positions: dict[Partition, int] = {}

    async def read(self) -> OpenLetters:
        """How many letters are open.

        Raises:
            KafkaError: there is no such topic, or the broker cannot be reached.
        """
        until = asyncio.get_running_loop().time() + READ_S
        async with LogReader.open(self._kafka, client_id="status") as reader:
            partitions = await reader.partitions(self._kafka.topic_prefix + DEADLETTERS.name)
            ends = await reader.ends(partitions)
            for one in partitions:
                beginning = await reader.beginning(one)
                self._count.forget_before(one.number, beginning)
                self._positions[one] = max(beginning, self._positions.get(one, 0))
                async for batch in reader.read(one, self._positions[one], ends[one]):
                    self._count.put(batch)
                    self._positions[one] = batch[-1].offset + 1
                    if asyncio.get_running_loop().time() > until:
                        break
                else:
                    self._positions[one] = max(self._positions[one], ends[one])
        left = sum(max(0, ends[one] - self._positions[one]) for one in partitions)
        return OpenLetters(counts=self._count.counts(), unread_records=left)
