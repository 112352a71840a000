"""The sinks that work on ServiceTrade, mirror and command, for the contract's suite: on a simulated one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy import text

from runtime.database import reading
from runtime.settings import ServiceTradeSettings
from schemas.change import Action, EntityChange
from schemas.command import Check, Command
from schemas.encoding import encode
from servicetrade.client import ServiceTradeClient, open_client
from servicetrade.session_store import SessionStore
from sinks import command, mirror
from sinks.command import CommandSink
from sinks.command_store import CommandStore
from sinks.commands_feed import CommandsFeed
from sinks.mirror import Mirror
from sinks.mirror_store import MirrorStore
from sinks.sink import Sink
from sinks.steps import At
from tests.servicetrade.conftest import QUICK
from tests.simulator.support import Simulator, running
from tests.sinks.commanding import LOST
from tests.sinks.contract.sinks_adapter import ACCOUNT, Adapter, ChangesAdapter, Effect, Item, item_of
from tests.sinks.making import change

_TOO_MANY: Mapping[str, Any] = {"on": "resource", "status": 429, "retry_after": 0}
_TYPES = ("company", "quote", "contact")
_CHANGED = (
    "NEW.last_sequence <> OLD.last_sequence OR NEW.written_ticket <> OLD.written_ticket"
    " OR coalesce(NEW.deleted_at, 0) <> coalesce(OLD.deleted_at, 0)"
)
_NOTE = "INSERT INTO effects (entity_id, sequence) VALUES (NEW.entity_id, NEW.last_sequence);"
_SQLITE = (
    "CREATE TABLE effects (position INTEGER PRIMARY KEY, entity_id TEXT, sequence TEXT)",
    f"CREATE TRIGGER inserted AFTER INSERT ON entities WHEN NEW.last_sequence <> '' BEGIN {_NOTE} END",
    f"CREATE TRIGGER updated AFTER UPDATE ON entities WHEN {_CHANGED} BEGIN {_NOTE} END",
)
_EACH = "FOR EACH ROW"
_POSTGRESQL = (
    "CREATE TABLE effects (position SERIAL PRIMARY KEY, entity_id TEXT, sequence TEXT)",
    f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_NOTE} RETURN NULL; END $$",
    f"CREATE TRIGGER inserted AFTER INSERT ON entities {_EACH} WHEN (NEW.last_sequence <> '') EXECUTE FUNCTION note()",
    f"CREATE TRIGGER updated AFTER UPDATE ON entities {_EACH} WHEN ({_CHANGED}) EXECUTE FUNCTION note()",
)


class _OnServiceTrade(Adapter):
    """What both have in common."""

    method: str
    simulator: Simulator

    async def open(self, stack: AsyncExitStack) -> None:
        """See Adapter."""
        self.simulator = await stack.enter_async_context(running())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ServiceTradeClient]:
        """ServiceTrade's client as a new process would have it."""
        where = ServiceTradeSettings(base_url=self.simulator.url, login=QUICK)
        async with open_client(where, {"acme": ACCOUNT}, SessionStore(self.database, self.key)) as found:
            yield found

    async def fail(self, times: int) -> None:
        """See Adapter."""
        await self.simulator.fault(**_TOO_MANY, method=self.method, times=times)

    async def failures(self) -> int:
        """See Adapter."""
        return sum(int(one["struck"]) for one in await self.simulator.faults())

    async def leave(self, *, entities: bool = False) -> None:  # noqa: ARG002 - it is the account in both cases
        """See Adapter."""
        await self.simulator.fault(**_TOO_MANY, method=self.method)

    async def come_back(self) -> None:
        """See Adapter."""
        await self.simulator.clear_faults()


class MirrorAdapter(_OnServiceTrade, ChangesAdapter):
    """The mirror; its effects are the writes to its table, noted by the database itself."""

    name = "mirror"
    steps = mirror.STEPS
    skips = True
    method = "GET"

    async def open(self, stack: AsyncExitStack) -> None:
        """See Adapter."""
        await super().open(stack)
        found = (await self.simulator.control("entities?account=acme"))["entities"]
        self._ids = [key.split("/")[1] for key in found if key.startswith("company/")][:3]
        async with self.database.begin() as connection:
            for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
                await connection.execute(text(statement))

    @asynccontextmanager
    async def sink(self, at: At) -> AsyncIterator[Sink[Any, Any]]:
        """See Adapter."""
        async with self.client() as client:
            yield Mirror(client, MirrorStore(self.database), at=at)

    def change(self, entity: int, number: int) -> EntityChange:
        """Every fifth is a deletion."""
        action: Action = "updated" if number % 5 else "deleted"
        return change(number, self._ids[entity], entity_type="company", action=action)

    def refused(self, number: int) -> Item:
        """ServiceTrade cannot have given out this id."""
        return item_of(0, change(number, 0, entity_type="company"))

    async def effects(self) -> list[Effect]:
        """See Adapter."""
        async with reading(self.database).begin() as connection:
            rows = await connection.execute(text("SELECT entity_id, sequence FROM effects ORDER BY position"))
            return [(self._ids.index(row.entity_id), int(row.sequence[5:21])) for row in rows]


class CommandAdapter(_OnServiceTrade):
    """The command sink, which creates entities of three types; commands of even numbers have no check."""

    name = "command"
    steps = command.STEPS
    method = "POST"
    feed = CommandsFeed()

    @asynccontextmanager
    async def sink(self, at: At) -> AsyncIterator[Sink[Any, Any]]:
        """See Adapter."""
        async with self.client() as client:
            yield CommandSink(client, CommandStore(self.database), at=at, settle_s=0.0)

    def item(self, entity: int, number: int) -> Item:
        """See Adapter."""
        return self._item(_TYPES[entity], entity, number)

    def refused(self, number: int) -> Item:
        """Nobody has published where such a thing is created."""
        return self._item("clockevent", 99, number)

    def _item(self, entity_type: str, entity: int, number: int) -> Item:
        name = f"number {number}"
        check = Check(equals={"name": name}) if number % 2 else None
        one = Command(
            id=f"c{number}",
            account="acme",
            method="POST",
            entity_type=entity_type,
            body={"name": name},
            check=check,
        )
        return Item(entity=entity, number=number, key=b"acme", value=encode(one))

    async def effects(self) -> list[Effect]:
        """See Adapter."""
        found = (await self.simulator.control("entities?account=acme"))["entities"]
        made = sorted(
            (int(key.split("/")[1]), _TYPES.index(key.split("/")[0]), int(entity["name"].split()[1]))
            for key, entity in found.items()
            if str(entity.get("name")).startswith("number ")
        )
        return [(entity, number) for _, entity, number in made]

    async def arrange(self, step: str) -> None:
        """An answer that gets lost on its way, and one that says: not now."""
        if step == "looked":
            await self.simulator.fault(**{**LOST, "path": _TYPES[1]})
        elif step == "taken-back":
            await self.fail(1)

    def told(self, outcome: Mapping[str, Any]) -> int:
        """See Adapter."""
        return int(outcome["command_id"][1:])
