"""Which rules each account has, read while the processors are at work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from rules.history import read_rules_log
from runtime.kafka import LogReader, Partition
from runtime.settings import KafkaSettings
from schemas.record import LogRecord
from schemas.topics import RULES
from tests.replay.history import history_on

pytestmark = pytest.mark.anyio


class Interrupted(LogReader):
    """Reads as ever; once the copies of rules were read, something happens before anything else is asked."""

    meanwhile: Callable[[], Awaitable[object]]

    async def read(self, partition: Partition, start: int, stop: int) -> AsyncIterator[Sequence[LogRecord]]:
        async for batch in super().read(partition, start, stop):
            yield batch
        if partition.topic.endswith(RULES.name):
            await self.meanwhile()


async def test_rules_that_the_processors_consume_between_two_looks_are_in_one_of_them(kafka: KafkaSettings) -> None:
    async with history_on(kafka) as history, Interrupted.open(kafka, client_id="test") as reader:
        assert isinstance(reader, Interrupted)
        await history.rules("acme", 0, ignore_users=[1])
        await history.live()
        await history.rules("acme", 1, ignore_users=[2])
        reader.meanwhile = history.live
        log = await read_rules_log(reader, history.settings, ["acme"])
        latest = log.latest("acme")
        assert latest is not None
        assert latest.entry.rules["default"]["ignore_users"] == [2]
        assert len(log.of("acme")) == 2
