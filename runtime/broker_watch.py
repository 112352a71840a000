"""Knows whether the Kafka brokers can be reached, by asking them every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from runtime.kafka import BrokerRefused, KafkaError
from runtime.kafka.topics import open_admin
from runtime.logs import log_event
from runtime.settings import KafkaSettings

INTERVAL_S = 2.0
RETRY_S = 0.5
REFUSED_S = 10.0
"""After a refusal: more often would look like somebody who guesses passwords."""
TIMEOUT_S = 3.0

_log = logging.getLogger(__name__)


class BrokerWatch:
    """The answer to the last question."""

    def __init__(self) -> None:
        self.reachable = False

    def ready(self) -> Mapping[str, bool]:
        """Condition for /readyz."""
        return {"broker": self.reachable}


async def reached_broker(settings: KafkaSettings, stop: asyncio.Event) -> bool:
    """Wait until the brokers can be reached: a process may well be started before them.

    Returns:
        False if `stop` was set meanwhile.

    Raises:
        BrokerRefused: they answer, but not to somebody with this configuration.
    """
    told = False
    while not stop.is_set():
        try:
            async with open_admin(settings):
                return True
        except KafkaError as error:
            if not told:
                log_event(_log, "broker.unreachable", level=logging.WARNING, reason=str(error))
                told = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await stop.wait()
    return False


@asynccontextmanager
async def watching_broker(settings: KafkaSettings) -> AsyncIterator[BrokerWatch]:
    """Keep asking for as long as the block lasts; before the first answer the brokers count as not reachable."""
    watch = BrokerWatch()

    async def ask() -> None:
        while True:
            pause_s = RETRY_S
            try:
                async with open_admin(settings) as admin:
                    while True:
                        async with asyncio.timeout(TIMEOUT_S):
                            await admin.describe_cluster()
                        watch.reachable = True
                        await asyncio.sleep(INTERVAL_S)
            except BrokerRefused:
                pause_s = REFUSED_S
            except (KafkaError, OSError):  # TimeoutError is one
                pass
            watch.reachable = False
            await asyncio.sleep(pause_s)

    asking = asyncio.create_task(ask(), name="broker-watch")
    try:
        yield watch
    finally:
        asking.cancel()
