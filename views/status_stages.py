"""Asks Kafka how far every consumer group of ours is behind, in records and in time, and who works in it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from runtime.kafka import LogReader, Partition
from runtime.kafka.members import group_members
from runtime.kafka.topics import committed_offsets
from runtime.settings import Settings
from runtime.sink_settings import SinkSettings
from schemas.topics import CHANGES, COMMANDS, WEBHOOKS
from views.status_data import CutOff, Flow, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group that the configuration gives rise to."""

    stage: str
    topic: str
    """Without the prefix."""
    name: str


def groups_of(settings: Settings) -> list[Group]:
    """The processors and every sink of the configuration."""
    sinks = settings.sinks
    changes: dict[str, SinkSettings] = {
        "mirror": sinks.mirror,
        **{f"forward/{name}": one for name, one in sinks.forward.items()},
        **{f"custom/{name}": one for name, one in sinks.custom.items()},
    }
    return [
        Group(stage="processors", topic=WEBHOOKS.name, name=settings.processors.group),
        *(Group(stage=name, topic=CHANGES.name, name=_group(name, one)) for name, one in changes.items()),
        Group(stage="command", topic=COMMANDS.name, name=_group("command", sinks.command)),
    ]


def _group(sink: str, how: SinkSettings) -> str:
    return how.group or f"tradewind-{sink.replace('/', '-')}"  # as sinks.main names it


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a group is in a topic."""

    firsts: Mapping[Partition, int]
    """The first offset that it has not done and that is there, of the partitions where there is one."""
    lost: int
    """Records that retention removed before it did them."""
    cut_off: tuple[CutOff, ...]
    """The partitions that end before what it has done."""


def progress_of(committed: Mapping[Partition, int], log: Mapping[Partition, tuple[int, int]]) -> Progress:
    """Where a group is, by what it has committed and by where the log of each partition begins and ends."""
    firsts, lost, cut_off = dict[Partition, int](), 0, list[CutOff]()
    for one, (beginning, end) in log.items():
        # What was there before a group's first commit is not its loss: it begins with what it finds.
        position = committed.get(one, beginning)
        lost += max(0, beginning - position)
        if position > end:
            cut_off.append(CutOff(partition=one.number, end=end, committed=position))
        elif max(position, beginning) < end:
            firsts[one] = max(position, beginning)
    return Progress(firsts=firsts, lost=lost, cut_off=tuple(cut_off))


class FlowReader:
    """Reads the state of the groups, as often as it is asked; remembers only times of records that it has read."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._groups = groups_of(settings)
        self._times: dict[tuple[Partition, int], int] = {}

    async def read(self) -> Flow:
        """How far every group is.

        Raises:
            KafkaError: a topic is missing, or the broker cannot be reached or asked.
        """
        names = [group.name for group in self._groups]
        offsets = await asyncio.gather(*(committed_offsets(self._kafka, name) for name in names))
        members = await group_members(self._kafka, names)
        async with LogReader.open(self._kafka, client_id="status") as reader:
            partitions = {
                topic: await reader.partitions(self._kafka.topic_prefix + topic)
                for topic in dict.fromkeys((WEBHOOKS.name, *(group.topic for group in self._groups)))
            }
            # After what is committed, so that nothing seems to be done that is not there.
            ends = await reader.ends([one for several in partitions.values() for one in several])
            logs = {
                topic: {one: (await reader.beginning(one), ends[one]) for one in several}
                for topic, several in partitions.items()
            }
            progress = {
                group.name: progress_of(committed, logs[group.topic])
                for group, committed in zip(self._groups, offsets, strict=True)
            }
            last = [(one, end - 1) for one, (beginning, end) in logs[WEBHOOKS.name].items() if end > beginning]
            wanted = {place for found in progress.values() for place in found.firsts.items()}
            await self._look_up(reader, wanted | set(last), ends)
        stages = [
            self._stage(group, progress[group.name], ends, members=members[group.name], started=bool(committed))
            for group, committed in zip(self._groups, offsets, strict=True)
        ]
        appended = [self._times[place] for place in last if place in self._times]
        return Flow(stages=stages, last_append_ms=max(appended, default=None))

    async def _look_up(
        self, reader: LogReader, places: Collection[tuple[Partition, int]], ends: Mapping[Partition, int]
    ) -> None:
        """Learn the times of the records at these places, or of the next ones; forget all others."""
        self._times = {place: time_ms for place, time_ms in self._times.items() if place in places}
        for partition, offset in sorted(set(places) - self._times.keys()):
            async for batch in reader.read(partition, max(offset, await reader.beginning(partition)), ends[partition]):
                self._times[partition, offset] = batch[0].timestamp
                break

    def _stage(
        self,
        group: Group,
        progress: Progress,
        ends: Mapping[Partition, int],
        *,
        members: int,
        started: bool,
    ) -> Stage:
        times = [self._times[place] for place in progress.firsts.items() if place in self._times]
        return Stage(
            name=group.stage,
            topic=group.topic,
            group=group.name,
            lag_records=sum(ends[one] - first for one, first in progress.firsts.items()),
            lost_records=progress.lost,
            cut_off=progress.cut_off,
            oldest_ms=min(times, default=None),
            members=members,
            started=started,
        )
