"""The sinks that tell somebody else, forward and custom, for the contract's suite: over HTTP, on a real socket."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

from runtime.settings import ServiceTradeSettings
from runtime.sink_settings import CustomSettings, SubscriberSettings
from runtime.toml_reader import Secret
from schemas.encoding import decode
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks import Context, EntityChange, Reject, RetryLater, forward, memory
from sinks.custom import open_custom
from sinks.forward import open_forward
from sinks.memory_store import MemoryStore
from sinks.sink import Sink
from sinks.steps import At
from tests.sinks.contract.sinks_adapter import ACCOUNT, ChangesAdapter, Effect, Item, Repeats
from tests.sinks.subscriber import Request, Say, answer, subscriber

_REFUSED = 99
"""Entity of what nobody wants."""
_TAKEN, _UNWANTED, _BROKEN, _BUSY = 204, 422, 500, 503


class _Judge(deque[Say]):
    """Answers each request by what it says; it takes the place of a subscriber's prepared answers."""

    def __init__(self, requests: list[Request]) -> None:
        super().__init__()
        self._requests = requests
        self.left = 0
        """So many requests fail for now."""
        self.failed = 0
        self.mood = _TAKEN
        self.taken: list[Effect] = []
        self.ids: dict[int, tuple[str, bytes]] = {}
        """Id and bytes of each item, which every repeat has to have as well."""

    def __bool__(self) -> bool:
        return True

    def popleft(self) -> Say:
        return answer(self._status(self._requests[-1]))

    def _status(self, request: Request) -> int:
        data = decode(request.body)["data"]
        entity, number = int(data["entity_id"]) - 1, int(data["sequence"][5:21])
        same = request.headers["webhook-id"], request.body
        assert self.ids.setdefault(number, same) == same
        if entity == _REFUSED:
            return _UNWANTED
        if self.left or self.mood != _TAKEN:
            self.left, self.failed = max(0, self.left - 1), self.failed + 1
            return _BROKEN if self.mood == _TAKEN else self.mood
        self.taken.append((entity, number))
        return _TAKEN


class _OverHttp(ChangesAdapter):
    """What both have in common."""

    repeats: ClassVar[Repeats] = "after a crash"

    async def open(self, stack: AsyncExitStack) -> None:
        """See Adapter."""
        other = await stack.enter_async_context(subscriber())
        self.port = other.port
        self._judge = other.answers = _Judge(other.requests)

    def refused(self, number: int) -> Item:
        """See Adapter."""
        return self.item(_REFUSED, number)

    async def effects(self) -> list[Effect]:
        """See Adapter."""
        return list(self._judge.taken)

    async def fail(self, times: int) -> None:
        """See Adapter."""
        self._judge.left = times

    async def failures(self) -> int:
        """See Adapter."""
        return self._judge.failed

    async def leave(self, *, entities: bool = False) -> None:
        """See Adapter."""
        self._judge.mood = _BROKEN if entities else _BUSY

    async def come_back(self) -> None:
        """See Adapter."""
        self._judge.mood = _TAKEN


class ForwardAdapter(_OverHttp):
    """The forward sink."""

    name = "forward/crm"
    steps = (*memory.STEPS, *forward.STEPS)
    parks = False

    @asynccontextmanager
    async def sink(self, at: At) -> AsyncIterator[Sink[Any, Any]]:
        """See Adapter."""
        how = SubscriberSettings(
            url=f"http://127.0.0.1:{self.port}/in",
            secret=Secret(f"whsec_{b64encode(bytes(range(32))).decode()}"),
            allow_private=True,
        )
        async with open_forward("crm", how, MemoryStore(self.database), at=at) as found:
            yield found


class CustomAdapter(_OverHttp):
    """A custom sink with the function below."""

    name = "custom/mine"
    steps = memory.STEPS

    @asynccontextmanager
    async def sink(self, at: At) -> AsyncIterator[Sink[Any, Any]]:
        """See Adapter; ServiceTrade is not asked for anything."""
        url = f"http://127.0.0.1:{self.port}/"
        how = CustomSettings(deliver=f"{__name__}:post", options={"url": url})
        sessions, store = SessionStore(self.database, self.key), MemoryStore(self.database)
        async with (
            open_client(ServiceTradeSettings(base_url=url), {"acme": ACCOUNT}, sessions) as client,
            open_custom("mine", how, client, store, at=at) as found,
        ):
            yield found


async def post(change: EntityChange, context: Context) -> None:
    """What a user's function may look like."""
    data = {"entity_id": change.entity_id, "sequence": change.sequence}
    headers = {"webhook-id": context.idempotency_key}
    said = await context.http.post(context.options["url"], json={"data": data}, headers=headers)
    if said.status_code == _UNWANTED:
        raise Reject("unwanted")
    if said.status_code != _TAKEN:
        raise RetryLater(f"HTTP {said.status_code}", scope="account" if said.status_code == _BUSY else "entity")
