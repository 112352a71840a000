"""What the contract's suite has to know of a sink: how it is made and given work, what it did, and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from runtime.database import Database
from runtime.settings import AccountSettings
from runtime.toml_reader import Secret
from schemas.change import EntityChange, change_record
from sinks.changes_feed import ChangesFeed
from sinks.feed import Feed
from sinks.sink import Sink
from sinks.steps import At
from tests.sinks.making import change
from tests.sinks.support import number_of

ACCOUNT = AccountSettings(
    username="acme-api", password=Secret("secret-a"), hook_secret=Secret("of-no-use-in-this-test")
)
Effect = tuple[int, int]
"""Entity and number of an item that the other side has taken."""
Repeats = Literal["never", "after a crash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One record for the sink. Numbers grow from 1 on, and entities from 0 on."""

    entity: int
    number: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Adapter(ABC):
    """One sink on real parts; it is opened anew for every process, while the other side stays."""

    name: ClassVar[str]
    steps: ClassVar[tuple[str, ...]]
    parks: ClassVar[bool] = True
    """Whether it puts aside what the other side is away for; else it waits, and the log holds it."""
    repeats: ClassVar[Repeats] = "never"
    skips: ClassVar[bool] = False
    """Whether the effect of an item may be had with that of a later one."""

    def __init__(self, database: Database, key: Secret) -> None:
        self.database = database
        self.key = key

    @abstractmethod
    async def open(self, stack: AsyncExitStack) -> None:
        """Start the other side, before anything else."""

    @property
    @abstractmethod
    def feed(self) -> Feed[Any, Any]:
        """Of the topic that it reads."""

    @abstractmethod
    def sink(self, at: At) -> AbstractAsyncContextManager[Sink[Any, Any]]:
        """As a new process would have it."""

    @abstractmethod
    def item(self, entity: int, number: int) -> Item:
        """Something to act on."""

    @abstractmethod
    def refused(self, number: int) -> Item:
        """Something that is refused for good, whenever it comes; its entity has nothing else."""

    @abstractmethod
    async def effects(self) -> list[Effect]:
        """What the other side has taken, in order."""

    @abstractmethod
    async def fail(self, times: int) -> None:
        """The next requests fail for now."""

    @abstractmethod
    async def failures(self) -> int:
        """How many requests did, all in all."""

    @abstractmethod
    async def leave(self, *, entities: bool = False) -> None:
        """The other side is away until it comes back; or each entity by itself seems to be in trouble."""

    @abstractmethod
    async def come_back(self) -> None:
        """All is well again."""

    async def arrange(self, step: str) -> None:  # noqa: B027 - most need nothing
        """What it takes for the step to be reached, if more than items."""

    def told(self, outcome: Mapping[str, Any]) -> int:
        """The number of the item that an outcome is about."""
        return int(outcome["sequence"][5:21])

    def keeps(self, seen: Sequence[int], sent: Sequence[int], uncertain: set[int], *, crashed: bool) -> bool:
        """Whether the effects of one entity are as promised."""
        first = list(dict.fromkeys(seen))
        if (self.repeats == "never" or not crashed) and first != list(seen):
            return False
        if self.skips:
            return first == sorted(first) and set(first) <= set(sent) and first[-1] == sent[-1]
        return first == [one for one in sent if one in first or one not in uncertain]


class ChangesAdapter(Adapter):
    """A sink of changes."""

    @property
    def feed(self) -> Feed[Any, Any]:
        """See Adapter."""
        return ChangesFeed()

    def change(self, entity: int, number: int) -> EntityChange:
        """What happened to an entity."""
        return change(number, entity + 1)

    def item(self, entity: int, number: int) -> Item:
        """See Adapter."""
        return item_of(entity, self.change(entity, number))


def item_of(entity: int, one: EntityChange) -> Item:
    """The change as a record."""
    key, value, headers = change_record(one)
    return Item(entity=entity, number=number_of(one), key=key, value=value, headers=tuple(headers))
