"""The operator's HTTP server that every process has: /livez, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtime.metrics import CONTENT_TYPE, render

Readiness = Callable[[], Mapping[str, bool]]
"""Named conditions; the process is ready if all hold."""


class Status:
    """What /readyz answers: a process is not ready before it says what to watch."""

    def __init__(self) -> None:
        self._sources: tuple[Readiness, ...] = ()

    def watch(self, *sources: Readiness) -> None:
        """The process has begun its work; from here on it is ready if these conditions hold."""
        self._sources = sources

    def __call__(self) -> Mapping[str, bool]:
        """Every condition by name."""
        conditions = {"started": bool(self._sources)}
        for source in self._sources:
            conditions |= source()
        return conditions


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
async def ops_server(host: str, port: int, ready: Readiness) -> AsyncIterator[int]:
    """Serve /livez (200 while the event loop turns), /readyz (200 or 503 with the conditions) and /metrics."""

    async def livez(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:
        conditions = dict(ready())
        return JSONResponse(conditions, status_code=200 if all(conditions.values()) else 503)

    async def metrics(_: Request) -> Response:
        return Response(render(), media_type=CONTENT_TYPE)

    app = Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off")
    async with serving(config) as bound:
        yield bound
