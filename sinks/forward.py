"""The forward sink: signed HTTP requests to one subscriber, who has a place of its own on the topic of changes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from runtime import metrics
from runtime.sink_settings import SubscriberSettings
from schemas.change import EntityChange
from schemas.errors import RetryLater
from sinks.arrival import Arrival
from sinks.forward_answer import failure_of
from sinks.forward_host import Resolve, resolve_name
from sinks.forward_http import Sender, open_sender
from sinks.forward_message import body_of, signed_headers
from sinks.memory import Remembering
from sinks.memory_store import MemoryStore
from sinks.sink import Fate
from sinks.steps import At, pass_by

STEPS = (
    "sending",
    "answered",  # the subscriber may have acted, and nobody has looked at the answer
)


class Forward:
    """`sinks.memory.Acting` for one subscriber. What is to be filtered out never comes here: `settings.wants`.

    Args:
        name: of the subscriber, [sinks.forward.NAME].
        settings: its secrets sign.
        sender: its connections.
        at: see `sinks.steps`; STEPS.
    """

    fate: Fate = "sink"

    def __init__(self, name: str, settings: SubscriberSettings, sender: Sender, *, at: At = pass_by) -> None:
        self.name = f"forward/{name}"
        self._keys = settings.keys
        self._sender = sender
        self._at = at

    async def act(self, arrival: Arrival[EntityChange]) -> None:
        """See `sinks.memory.Acting`.

        Raises:
            RetryLater: no answer, or one that may be another later.
            Reject: the subscriber will not have this change.
            Halt: it wants no changes any more (410).
        """
        change = arrival.item
        body = body_of(change, arrival.record.value or b"null")

        def headers() -> Mapping[str, str]:
            return signed_headers(change.id, body, self._keys, now_s=int(time.time()))

        self._at("sending")
        try:
            answer = await self._sender.post(body, headers)
        except RetryLater:
            metrics.FORWARDED.labels(self.name, "0").inc()
            raise
        metrics.FORWARDED.labels(self.name, str(answer.status)).inc()
        self._at("answered")
        if (failure := failure_of(answer)) is not None:
            raise failure


@asynccontextmanager
async def open_forward(
    name: str,
    settings: SubscriberSettings,
    store: MemoryStore,
    *,
    resolve: Resolve = resolve_name,
    at: At = pass_by,
) -> AsyncIterator[Remembering]:
    """The sink for one subscriber and its connections, for as long as the block lasts.

    Raises:
        SettingsError: its URL or its ca_file cannot be used.
    """
    async with open_sender(name, settings, resolve=resolve) as sender:
        yield Remembering(Forward(name, settings, sender, at=at), store, at=at)
