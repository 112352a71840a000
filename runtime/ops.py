"""The operator's HTTP server that every process has: /livez, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtime.metrics import CONTENT_TYPE, READY, START_TIME_SECONDS, render

Readiness = Callable[[], Mapping[str, bool]]
"""Named conditions; the process is ready if all hold."""


class Status:
    """What /readyz answers: a process is not ready before it says what to watch."""

    def __init__(self) -> None:
        self._sources: tuple[Readiness, ...] = ()
        self._shown: tuple[Readiness, ...] = ()

    def watch(self, *sources: Readiness, shown: Sequence[Readiness] = ()) -> None:
        """The process has begun its work.

        Args:
            sources: from here on it is ready if these conditions hold.
            shown: conditions that a person wants to see, but without which it works all the same.
        """
        self._sources, self._shown = sources, tuple(shown)

    def __call__(self) -> Mapping[str, bool]:
        """Every condition that has to hold, by name; one that several sources have holds if it does for all of them."""
        conditions = {"started": bool(self._sources)}
        for source in self._sources:
            for name, holds in source().items():
                conditions[name] = conditions.get(name, True) and holds
        return conditions

    def shown(self) -> Mapping[str, bool]:
        """The others, by name."""
        return {name: holds for source in self._shown for name, holds in source().items()}


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: the process's main decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[int]:
    """Serve HTTP for as long as the block lasts; yields the port, which the system chose if 0 was asked for.

    Raises:
        OSError: the address cannot be bound, or the server ended by itself (in an ExceptionGroup).
    """
    server = QuietServer(config)
    stopped = asyncio.Event()
    # Bound here, so that a taken port is an exception of ours and not uvicorn's sys.exit(1).
    # The protocol is named because asyncio switches Nagle's algorithm off only then: 40 ms an answer otherwise.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with sock:
        sock.bind((config.host, config.port))
        sock.listen(config.backlog)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[sock]), name=f"http:{config.port}")
            serving.add_done_callback(lambda _: stopped.set())
            tasks.create_task(_fail_if_stopped(server, stopped))
            try:
                yield int(sock.getsockname()[1])
            finally:
                server.should_exit = True


async def _fail_if_stopped(server: uvicorn.Server, stopped: asyncio.Event) -> None:
    """A server that ends by itself must not leave its process running without one."""
    await stopped.wait()
    if not server.should_exit:
        raise OSError("the HTTP server stopped")


@asynccontextmanager
async def ops_server(host: str, port: int, ready: Readiness, shown: Readiness = dict) -> AsyncIterator[int]:
    """Serve /livez (200 while the event loop turns), /readyz and /metrics.

    Args:
        host: address to listen on.
        port: 0: one that the system chooses.
        ready: conditions that /readyz shows, and answers 200 for if all hold, else 503.
        shown: conditions that it only shows.
    """

    async def livez(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:
        needed = ready()
        return JSONResponse({**needed, **shown()}, status_code=200 if all(needed.values()) else 503)

    async def metrics(_: Request) -> Response:
        for name, holds in ready().items():
            READY.labels(name).set(holds)
        return Response(render(), media_type=CONTENT_TYPE)

    START_TIME_SECONDS.set_to_current_time()
    app = Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off")
    async with serving(config) as bound:
        yield bound
