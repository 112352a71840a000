"""A command sink on a simulated ServiceTrade, and commands as they arrive at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from runtime.database import open_database
from runtime.settings import AccountSettings, LoginSettings, ServiceTradeSettings, StoreSettings
from runtime.store_schema import upgrade
from runtime.toml_reader import Secret
from schemas.command import Check, Command, CommandResult, Method
from schemas.encoding import encode
from schemas.errors import RetryLater
from schemas.record import LogRecord
from schemas.topics import COMMANDS
from servicetrade.client import open_client
from servicetrade.session_store import SessionStore
from sinks.arrival import Arrival
from sinks.command import CommandSink
from sinks.command_store import CommandStore
from sinks.steps import At, pass_by
from tests.simulator.support import Simulator

QUICK = LoginSettings(interval_s=0.02, longest_pause_s=0.1)
NOW = 1_700_000_000.0
NAME = "by command"
PASSWORD = "secret-a"
LOST: Mapping[str, Any] = {
    "on": "resource",
    "method": "POST",
    "path": "job",
    "reset": True,
    "processed": True,
    "times": 1,
}
"""A job is made, and the answer lost."""


class CrashError(Exception):
    """The worker ends at a step."""


class CrashAt:
    """Ends the worker the first time that the step is reached."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.reached = False

    def __call__(self, step: str) -> None:
        if step == self.step and not self.reached:
            self.reached = True
            raise CrashError(step)


@asynccontextmanager
async def opened(
    settings: StoreSettings,
    url: str,
    *,
    password: str = PASSWORD,
    login: LoginSettings = QUICK,
    at: At = pass_by,
    settle_s: float = 0.0,
) -> AsyncIterator[CommandSink]:
    """A sink as a new process would have it."""
    account = AccountSettings(
        username="acme-api", password=Secret(password), hook_secret=Secret("of-no-use-in-this-test")
    )
    async with open_database(settings) as engine:
        sessions, store = SessionStore(engine, settings.key), CommandStore(engine)
        await upgrade(engine)
        where = ServiceTradeSettings(base_url=url, login=login)
        async with open_client(where, {"acme": account}, sessions) as client:
            yield CommandSink(client, store, now=lambda: NOW, at=at, settle_s=settle_s)


def arrived(command: Command, *, offset: int = 0, again: bool = False) -> Arrival[Command]:
    record = LogRecord(
        topic=COMMANDS.name,
        offset=offset,
        timestamp=int(NOW * 1000) - 20,
        key=command.account.encode(),
        value=encode(command),
    )
    return Arrival(record=record, item=command, account=command.account, key=command.key, again=again)


async def deliver(sink: CommandSink, command: Command, *, offset: int = 0, again: bool = False) -> CommandResult:
    """What came of a command that was given to the sink once."""
    (result,) = await sink.deliver([arrived(command, offset=offset, again=again)])
    return result


async def until_settled(sink: CommandSink, command: Command) -> CommandResult:
    """What came of a command that is given to the sink again whenever it says so."""
    for _ in range(5):
        try:
            return await deliver(sink, command)
        except RetryLater:
            continue
    raise AssertionError("never settled")


def command(
    method: Method = "POST",
    entity_id: str | None = None,
    body: Mapping[str, Any] | None = None,
    *,
    entity_type: str = "job",
    account: str = "acme",
    id: str = "c1",  # noqa: A002 - the command's own name for it
    checked: bool = False,
    not_after: int | None = None,
) -> Command:
    return Command(
        id=id,
        account=account,
        method=method,
        entity_type=entity_type,
        entity_id=entity_id,
        body=body,
        not_after=not_after,
        check=Check(params={"status": "*"}, equals={"name": (body or {})["name"]}) if checked else None,
    )


class Office:
    """The simulated account, as these tests look at it."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.url = simulator.url

    async def entities(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.simulator.control("entities?account=acme"))["entities"]
        return found

    async def an_id(self, entity_type: str) -> str:
        return next(key.split("/")[1] for key in await self.entities() if key.startswith(f"{entity_type}/"))

    async def creation(
        self,
        *,
        name: str = NAME,
        checked: bool = False,
        not_after: int | None = None,
        id: str = "c1",  # noqa: A002
    ) -> Command:
        body = {"name": name, "locationId": int(await self.an_id("location"))}
        return command("POST", body=body, checked=checked, not_after=not_after, id=id)

    async def made(self, name: str = NAME) -> int:
        """How many jobs of that name there are."""
        return (await self.simulator.names("job")).count(name)

    async def writes(self) -> int:
        """Requests that were to change something."""
        requests: dict[str, int] = (await self.simulator.counters())["requests"]
        return sum(
            count
            for request, count in requests.items()
            if request.split()[0] in ("POST", "PUT", "DELETE") and "auth" not in request
        )
