"""Wires the simulator together and serves it until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from servicetrade.simulator import api, sender
from servicetrade.simulator.accounts import Accounts, AccountSettings
from servicetrade.simulator.answers import on_http_exception
from servicetrade.simulator.control import Control
from servicetrade.simulator.control_faults import FaultControl
from servicetrade.simulator.day_runner import DayRunner
from servicetrade.simulator.reset import Resettable
from servicetrade.simulator.sender import Sender, SenderRules
from servicetrade.simulator.tasks import Tasks

BACKLOG = 1024
SHUTDOWN_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """How a simulator is run.

    Args:
        port: 0 takes any free one.
        seed: of the furnishing and of decisions by ratio; an office day has a seed of its own.
    """

    host: str = "127.0.0.1"
    port: int = 0
    accounts: tuple[AccountSettings, ...] = ()
    seed: int = 1
    sender: SenderRules = field(default_factory=SenderRules)


def announce(url: str) -> None:
    """Print the one line that tells a parent process where the simulator listens."""
    sys.stdout.write(json.dumps({"event": "simulator.listening", "url": url}) + "\n")
    sys.stdout.flush()


async def serve(
    settings: SimulatorSettings, stop: asyncio.Event, *, on_listening: Callable[[str], None] = announce
) -> None:
    """Serve until `stop` is set; messages not delivered by then are dropped.

    Args:
        settings: address, accounts and the sender's rules.
        stop: set by whoever owns the simulator.
        on_listening: called once with the base URL (without /api) when requests are accepted.

    Raises:
        OSError: the address cannot be bound.
        ValueError: two accounts share a name or a username.
    """
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it every answer waits
    # for a delayed acknowledgement, 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        url = f"http://{settings.host}:{listener.getsockname()[1]}"
        async with sender.client(settings.sender) as http, asyncio.TaskGroup() as group:
            tasks = Tasks(group)

            def new_sender() -> Sender:
                return Sender(settings.sender, http, tasks)

            accounts = Accounts(seed=settings.seed)
            for account in settings.accounts:
                accounts.add(account, new_sender(), time.time())
            control = Control(accounts, DayRunner(accounts, tasks), new_sender)
            app = Starlette(
                routes=[*control.routes(), *FaultControl(accounts).routes(), *api.routes(accounts)],
                exception_handlers={HTTPException: on_http_exception},
            )
            server = _Server(Resettable(app), lambda: on_listening(url))
            serving = group.create_task(server.serve(sockets=[listener]))
            await stop.wait()
            for one in accounts:
                one.waits.close()
            server.should_exit = True
            await serving
            tasks.cancel_all()


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to its caller and says when it listens."""

    def __init__(self, app: Resettable, on_listening: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                http="httptools",
                backlog=BACKLOG,
                timeout_graceful_shutdown=SHUTDOWN_S,
            )
        )
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
