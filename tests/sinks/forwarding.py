"""A forward sink beside a subscriber on a real socket, for its tests."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runtime.database import open_database
from runtime.settings import StoreSettings
from runtime.sink_settings import SubscriberSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from sinks.forward import open_forward
from sinks.memory import Remembering
from sinks.memory_store import MemoryStore
from sinks.steps import At, pass_by
from tests.sinks.making import arrived, change
from tests.sinks.subscriber import Subscriber, subscriber

KEY = bytes(range(32))
SECRET = f"whsec_{b64encode(KEY).decode()}"
OLD_KEY = bytes(range(24))
OLD_SECRET = f"whsec_{b64encode(OLD_KEY).decode()}"
HOST = "hooks.subscriber.test"


def settings(port: int, **more: Any) -> SubscriberSettings:
    values = {"url": f"http://{HOST}:{port}/in?x=1", "secret": Secret(SECRET), "allow_private": True, **more}
    return SubscriberSettings(**values)


async def nearby(_host: str, _port: int) -> Sequence[str]:
    """A resolver that knows where the test's subscriber is; no other knows its name."""
    return ["127.0.0.1"]


class Bench:
    """A forward sink, and who it sends to."""

    def __init__(self, other: Subscriber, store: MemoryStore) -> None:
        self.other = other
        self.store = store

    @asynccontextmanager
    async def sink(self, *, at: At = pass_by, **more: Any) -> AsyncIterator[Remembering]:
        async with open_forward("crm", settings(self.other.port, **more), self.store, resolve=nearby, at=at) as found:
            yield found

    async def failure(self, error: type[Exception], **more: Any) -> Any:
        """What the delivery of one change raises."""
        async with self.sink(**more) as sink:
            with pytest.raises(error) as caught:
                await sink.deliver([arrived(change(1))])
        return caught.value


@asynccontextmanager
async def open_bench(settings: StoreSettings) -> AsyncIterator[Bench]:
    async with open_database(settings) as engine, subscriber() as other:
        store = MemoryStore(engine)
        await upgrade(engine)
        yield Bench(other, store)
