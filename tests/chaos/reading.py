"""Reads the topics over the direct listener, whole, and asks the oracle what they must hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.kafka import LogReader, Partition
from runtime.kafka.topics import committed_offsets
from runtime.settings import KafkaSettings
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from schemas.topics import CHANGES, DEADLETTERS, RULES, WEBHOOKS, Topic
from tests.chaos.verdict import Verdict, judge_changes, judge_dead_letters, judge_rules
from tests.oracle import Expected, expect

STILL_S = 2.5
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything that stands in the topics, in offset order per partition."""

    webhooks: Mapping[int, Sequence[LogRecord]]
    changes: Sequence[LogRecord]
    dead_letters: Sequence[LogRecord]
    rules: Sequence[LogRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the oracle says of a picture."""

    results: Mapping[int, Expected]
    changes: Verdict
    dead_letters: Verdict
    rules: Verdict

    @property
    def open(self) -> int:
        """Notifications in windows that are still open by the log."""
        return sum(result.open for result in self.results.values())

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come."""
        return self.open == self.changes.missing == self.dead_letters.missing == self.rules.missing == 0

    @property
    def good(self) -> bool:
        """Whether everything is as promised."""
        return self.changes.good and self.dead_letters.good and self.rules.good


async def ends(reader: LogReader) -> dict[tuple[str, int], int]:
    """Where each partition of the four topics ends."""
    found = {}
    for topic in (WEBHOOKS, CHANGES, DEADLETTERS, RULES):
        for partition in await reader.partitions(topic.name):
            found[topic.name, partition.number] = await reader.end(partition)
    return found


async def read_all(kafka: KafkaSettings) -> Picture:
    """Read the four topics once, from the first record to the last."""
    async with LogReader.open(kafka, client_id="chaos-reader") as reader:
        webhooks = await _read(reader, WEBHOOKS)
        changes, letters, rules = [await _read(reader, topic) for topic in (CHANGES, DEADLETTERS, RULES)]
    return Picture(webhooks=webhooks, changes=_flat(changes), dead_letters=_flat(letters), rules=_flat(rules))


async def _read(reader: LogReader, topic: Topic) -> dict[int, list[LogRecord]]:
    found: dict[int, list[LogRecord]] = {}
    for partition in await reader.partitions(topic.name):
        start, stop = await reader.beginning(partition), await reader.end(partition)
        batches = [batch async for batch in reader.read(partition, start, stop)]
        found[partition.number] = [record for batch in batches for record in batch]
    return found


def _flat(records: Mapping[int, Sequence[LogRecord]]) -> list[LogRecord]:
    return [record for partition in sorted(records) for record in records[partition]]


def judge(picture: Picture, *, times: PipelineTimes, epoch: int) -> Judgement:
    """Hold the picture against the oracle; takes seconds for a run of minutes."""
    results = {
        partition: expect(records, topic=WEBHOOKS.name, partition=partition, epoch=epoch, times=times)
        for partition, records in picture.webhooks.items()
    }
    wanted = [change for result in results.values() for change in result.changes]
    return Judgement(
        results=results,
        changes=judge_changes(wanted, picture.changes),
        dead_letters=judge_dead_letters(picture.webhooks, results, picture.dead_letters),
        rules=judge_rules(picture.webhooks, results, picture.rules),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """After how many seconds nothing more was to come, and what stood in the topics then."""

    after_s: float
    picture: Picture
    judgement: Judgement


async def settle(kafka: KafkaSettings, *, group: str, times: PipelineTimes, deadline_s: float) -> Settled | None:
    """Wait until the oracle says that nothing more is to come; gives None if that takes too long.

    The oracle, which needs seconds, is asked only when the topics have stopped growing and the group has committed
    all of the raw log, and once for each end that they stopped at. Its own time does not count.
    """
    began, asked_s = time.monotonic(), 0.0
    before: dict[tuple[str, int], int] = {}
    judged: dict[tuple[str, int], int] = {}
    still_since = began
    async with LogReader.open(kafka, client_id="chaos-settle") as reader:
        while (passed_s := time.monotonic() - began - asked_s) < deadline_s:
            now = await ends(reader)
            if now != before:
                before, still_since = now, time.monotonic()
            elif now != judged and time.monotonic() - still_since > STILL_S and await _consumed(kafka, group, now):
                asking = time.monotonic()
                picture = await read_all(kafka)
                judged = now
                judgement = await asyncio.to_thread(judge, picture, times=times, epoch=kafka.log_epoch)
                if judgement.settled:
                    return Settled(after_s=passed_s, picture=picture, judgement=judgement)
                asked_s += time.monotonic() - asking
            await asyncio.sleep(POLL_S)
    return None


async def _consumed(kafka: KafkaSettings, group: str, ended: Mapping[tuple[str, int], int]) -> bool:
    committed = await committed_offsets(kafka, group)
    raw = {number: end for (topic, number), end in ended.items() if topic == WEBHOOKS.name}
    return all(committed.get(Partition(WEBHOOKS.name, number), 0) == end for number, end in raw.items())
