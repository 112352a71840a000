"""Reads the life of one entity out of the topics: one partition of each, from the time that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from processors.restore import read_rules_history, rules_at
from processors.window import Origin
from runtime.kafka import LogReader, Partition, partition_of
from runtime.settings import Settings
from schemas.errors import SettingsError
from schemas.record import LogRecord
from schemas.topics import CHANGES, COMMANDS, DEADLETTERS, DELIVERIES, RESULTS, RULES, WEBHOOKS, Topic
from views.story_commands import CommandsTold
from views.story_entity import Entity, read_entity
from views.story_event import Event, Range, Story
from views.story_judged import ALL, SLACK_MS, Coverage, judge
from views.story_log import LogStory
from views.story_stream import Feed, Stream
from views.story_topics import ChangesTold, DeliveriesTold, LettersTold

NEAR_RECORDS = 20_000
"""The last changes of a partition among which other entities of the same id are looked for."""

Watch = Callable[[int, int], None]
"""Told how many records were read, and how many there are to read in all."""


def _nobody(_done: int, _all: int) -> None:
    pass


async def read_story(
    settings: Settings,
    account: str,
    entity_type: str,
    entity_id: str | int,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    watch: Watch = _nobody,
) -> Story:
    """The story of an entity from `since_ms` (None: the beginning of the log) up to `until_ms` (None: now).

    Args:
        settings: where the topics are.
        account: name of the customer account.
        entity_type: in any case.
        entity_id: digits, or a number.
        since_ms: Unix milliseconds of record timestamps.
        until_ms: the same; events at that time or later are left out.
        watch: told how far it is.

    Raises:
        ValueError: type or id is none.
        KafkaError: a topic is missing, or the broker is gone.
    """
    entity = read_entity(f"{entity_type}/{entity_id}", account)
    async with StoryReader.open(settings, entity, since_ms=since_ms, until_ms=until_ms) as reader:
        events = await reader.catch_up(watch)
        story = reader.story(events)
        if story.has_trace:
            return story
        return reader.story(events, near=await reader.near(list(settings.accounts)))


class StoryReader:
    """Reads the story, and goes on with what comes; made by `open`."""

    def __init__(self, reader: LogReader, settings: Settings, entity: Entity, since_ms: int | None) -> None:
        self._reader = reader
        self._settings = settings
        self._entity = entity
        self._since_ms = since_ms
        self._until_ms: int | None = None
        self._streams: list[Stream] = []
        self._removed = 0
        self._records = 0
        self._foreign_rules = 0
        self.changes = ChangesTold(entity)
        self.deliveries = DeliveriesTold(entity)
        self.letters = LettersTold(entity)
        self.log: LogStory

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, entity: Entity, *, since_ms: int | None = None, until_ms: int | None = None
    ) -> AsyncIterator[StoryReader]:
        """Connect, and find where to begin in each partition; disconnect on leaving.

        Raises:
            KafkaError: a topic is missing, or the broker is gone.
            SettingsError: the account's rules are none to this configuration.
        """
        async with LogReader.open(settings.kafka, client_id="story") as reader:
            story = cls(reader, settings, entity, since_ms)
            story._until_ms = until_ms
            await story._begin()
            yield story

    async def catch_up(self, watch: Watch = _nobody) -> list[Event]:
        """Everything that was not read yet, in the order of time; nothing if nothing has come."""
        ends = await self._reader.ends([stream.partition for stream in self._streams])
        stops = [
            ends[one.partition] if one.stop is None else min(one.stop, ends[one.partition]) for one in self._streams
        ]
        todo = sum(max(0, stop - one.position) for one, stop in zip(self._streams, stops, strict=True))
        events: list[Event] = []
        done = 0
        for stream, stop in zip(self._streams, stops, strict=True):
            async for batch in self._reader.read(stream.partition, stream.position, stop):
                events += stream.take(batch)
                done += len(batch)
                watch(min(done, todo), todo)
            stream.position, stream.end = max(stream.position, stop), ends[stream.partition]
        self._records += done
        return sorted((event for event in events if self._is_wanted(event)), key=Event.order)

    def story(self, events: Sequence[Event], near: Sequence[str] = ()) -> Story:
        """The story so far, of these events."""
        log, webhooks = self.log, self._streams[0].partition
        first_ms = log.first_ms if self._since_ms is None else self._since_ms
        return Story(
            entity=self._entity,
            events=tuple(events),
            range=Range(
                topic=webhooks.topic,
                partition=webhooks.number,
                from_ms=first_ms,
                to_ms=log.last_ms if self._until_ms is None else self._until_ms,
                removed=self._removed,
                records=self._records,
            ),
            window_open=log.window_open,
            account_seen=log.account_seen,
            judged=judge(
                events,
                self.changes,
                self.deliveries,
                seen=self._coverage(self.changes.feed),
                told=self._coverage(self.deliveries.feed),
                known=self._has_sink,
            ),
            open_letters=tuple(self.letters.open),
            near=tuple(near),
            foreign_rules=self._foreign_rules,
        )

    def _coverage(self, feed: Feed) -> Coverage:
        stop_ms = None if self._until_ms is None else self._until_ms + SLACK_MS
        return next((stream.coverage(stop_ms) for stream in self._streams if stream.feed == feed), ALL)

    def _has_sink(self, sink: str) -> bool:
        """Whether the configuration knows it: one that was taken out tells nothing any more."""
        kind, _, name = sink.partition("/")
        sinks = self._settings.sinks
        return name in {"forward": sinks.forward, "custom": sinks.custom}.get(kind, {name})

    async def near(self, accounts: Sequence[str]) -> list[str]:
        """Where there is no trace: entities of the same id, of another type or account, that have one."""
        entity = self._entity
        found = set(self.log.namesakes)
        partitions = await self._reader.partitions(self._settings.kafka.topic_prefix + CHANGES.name)
        homes = {_home(f"{account}/{entity.subject}".encode(), partitions) for account in accounts}
        ending = f"/{entity.id}".encode()
        for partition in sorted(homes):
            end = await self._reader.end(partition)
            start = max(await self._reader.beginning(partition), end - NEAR_RECORDS)
            async for batch in self._reader.read(partition, start, end):
                keys = {record.key for record in batch if record.key is not None and record.key.endswith(ending)}
                found |= {key.decode(errors="replace") for key in keys}
        return sorted(found - {entity.key})

    # -- where to begin --------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        entity, commands = self._entity, CommandsTold(self._entity)
        account, key = entity.account.encode(), entity.key.encode()
        topics: Sequence[tuple[Topic, list[bytes], Feed]] = (
            (CHANGES, [key], self.changes.feed),
            (DELIVERIES, [key], self.deliveries.feed),
            # A letter has the key of what it was: a webhook's and a command's, or a change's.
            (DEADLETTERS, [account, key], self.letters.feed),
            (RESULTS, [account], commands.feed_results),
            (COMMANDS, [account], commands.feed_commands),
        )
        # All is asked before anything is read: later a question waits for the poll of what was read last.
        (webhooks,) = await self._homes(WEBHOOKS, [account])
        homes = [(one, feed) for topic, keys, feed in topics for one in await self._homes(topic, keys)]
        # The first question about a topic takes aiokafka 100 ms: those about several are asked together.
        rules = await self._homes(RULES, [account])
        await asyncio.gather(*(self._reader.beginning(one) for one in (webhooks, *rules, *(one for one, _ in homes))))
        for partition, feed in homes:
            await self._add(partition, feed)
        await self._begin_log(webhooks)

    async def _begin_log(self, partition: Partition) -> None:
        reader, kafka, times = self._reader, self._settings.kafka, self._settings.pipeline
        start = beginning = await reader.beginning(partition)
        stop = None if self._until_ms is None else await reader.first_at_or_after(partition, self._until_ms)
        if self._since_ms is not None:
            start = await self._state_begins(partition, self._since_ms, beginning)
        self._removed = beginning if start == beginning else 0
        foreign: list[LogRecord] = []
        history = await read_rules_history(reader, kafka.topic_prefix + RULES.name, on_foreign=foreign.append)
        self._foreign_rules, account = len(foreign), self._entity.account
        try:
            mine = [one for one in history if one.account == account]
            rules = rules_at(mine, partition, start, max_ceiling_ms=times.max_ceiling_ms)
        except ValueError as error:
            raise SettingsError(f"{RULES.name} holds rules of {account} that are none here: {error}") from None
        origin = Origin(partition.topic, partition.number, kafka.log_epoch)
        self.log = LogStory(self._entity, origin, times, rules)
        self._streams.insert(0, Stream(partition, start, stop, self.log.feed))

    async def _state_begins(self, partition: Partition, since_ms: int, beginning: int) -> int:
        """Where to read from to know the state at `since_ms`: see step 11 of docs/guarantees.md."""
        position = await self._reader.first_at_or_after(partition, since_ms)
        reach = 1
        while position > beginning:
            start = max(beginning, position - reach)
            before = [batch[-1].timestamp async for batch in self._reader.read(partition, start, position)]
            if before:
                bound = before[-1] - self._settings.pipeline.restore_ms
                return min(position, await self._reader.first_at_or_after(partition, bound))
            if start == beginning:
                break
            reach *= 16  # offsets may have gaps
        return position

    async def _add(self, partition: Partition, feed: Feed) -> None:
        start = beginning = await self._reader.beginning(partition)
        stop = None
        if self._since_ms is not None:
            start = await self._reader.first_at_or_after(partition, self._since_ms - SLACK_MS)
        if self._until_ms is not None:
            stop = await self._reader.first_at_or_after(partition, self._until_ms + SLACK_MS)
        self._streams.append(Stream(partition, start, stop, feed, is_cut=start == beginning > 0))

    async def _homes(self, topic: Topic, keys: Sequence[bytes]) -> list[Partition]:
        """The partitions that records of these keys stand in."""
        partitions = await self._reader.partitions(self._settings.kafka.topic_prefix + topic.name)
        return sorted({_home(key, partitions) for key in keys})

    def _is_wanted(self, event: Event) -> bool:
        return (self._since_ms is None or event.at_ms >= self._since_ms) and (
            self._until_ms is None or event.at_ms < self._until_ms
        )


def _home(key: bytes, partitions: Sequence[Partition]) -> Partition:
    """The partition that records of a key stand in."""
    topic = partitions[0].topic
    return Partition(topic, partition_of(key, [one.number for one in partitions]))
