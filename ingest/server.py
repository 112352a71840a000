"""The HTTP server of ingest: its socket, its open connections, and the limits that hold for all of them."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.connection import Connection
from ingest.receiver import Receiver
from runtime import metrics
from runtime.logs import log_event
from runtime.settings import IngestSettings

BACKLOG = 2048
LOG_INTERVAL_S = 60.0
SWEEPS_PER_ANSWER = 50
"""Sweeps in the time that a request may take: an answer that is due comes this part of it late at most."""

SPARE_FILES = 256
"""For all that is no connection of a sender."""

_log = logging.getLogger(__name__)


class Server:
    """The open connections.

    Args:
        receiver: takes what they read.
        settings: of the limits.
    """

    def __init__(self, receiver: Receiver, settings: IngestSettings) -> None:
        self._receiver = receiver
        self._settings = settings
        self.connections: set[Connection] = set()
        self.port = 0
        self._turned_away = 0
        self._silent_until = 0.0

    def connection(self) -> Connection:
        """For the event loop: somebody connects."""
        return Connection(self._receiver, self._settings, self._admit, self.connections.discard)

    def _admit(self, connection: Connection) -> bool:
        if len(self.connections) >= self._settings.connection_limit:
            metrics.WEBHOOKS_LIMITED.labels("", "connections").inc()
            self._turned_away += 1
            return False
        self.connections.add(connection)
        return True

    async def sweep(self) -> None:
        """Hold the limits on time, for ever."""
        loop = asyncio.get_running_loop()
        interval_s = min(1.0, self._settings.answer_timeout_s / SWEEPS_PER_ANSWER)
        while True:
            await asyncio.sleep(interval_s)
            now = loop.time()
            for connection in tuple(self.connections):
                connection.check(now)
            if self._turned_away and now >= self._silent_until:
                count = self._turned_away
                log_event(_log, "ingest.limited", level=logging.WARNING, limit="connections", connections=count)
                self._turned_away, self._silent_until = 0, now + LOG_INTERVAL_S

    async def finish(self) -> None:
        """Let every connection answer what it has read; the sweep ends those that take too long."""
        while self.connections:
            for connection in tuple(self.connections):
                connection.finish()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(receiver: Receiver, settings: IngestSettings) -> AsyncIterator[Server]:
    """Serve for as long as the block lasts; the system chooses the port if 0 is asked for.

    Raises:
        OSError: the address cannot be bound.
    """
    server = Server(receiver, settings)
    _raise_file_limit(settings.connection_limit + SPARE_FILES)
    # The protocol is named because asyncio switches Nagle's algorithm off only then: 40 ms an answer otherwise.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with sock:
        sock.bind((settings.host, settings.port))
        server.port = int(sock.getsockname()[1])
        loop = asyncio.get_running_loop()
        accepting = await loop.create_server(server.connection, sock=sock, backlog=BACKLOG)
        sweeping = asyncio.create_task(server.sweep(), name="http-sweep")
        try:
            yield server
        finally:
            accepting.close()
            await server.finish()
            sweeping.cancel()


def _raise_file_limit(files: int) -> None:
    """Let the process have so many files open; systems start it with 1,024, and each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
