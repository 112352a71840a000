"""The HTTP server of ingest: its socket, its open connections, and the limits that hold for all of them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from ingest.connection import Connection
from ingest.receiver import Receiver
from runtime import metrics
from runtime.logs import log_event
from runtime.settings import IngestSettings

BACKLOG = 2048
LOG_INTERVAL_S = 60.0
SWEEPS_PER_ANSWER = 20
"""Sweeps in the time that a request may take: an answer that is due comes this part of it late at most."""

_log = logging.getLogger(__name__)


class Server:
    """The open connections.

    Args:
        settings: head_limit_bytes, connection_limit, answer_timeout_s and idle_timeout_s hold here.
    """

    def __init__(self, settings: IngestSettings) -> None:
        self.settings = settings
        self.connections: set[Connection] = set()
        self._turned_away = 0
        self._silent_until = 0.0

    def admit(self, connection: Connection) -> bool:
        """Whether there may be one more connection."""
        if len(self.connections) >= self.settings.connection_limit:
            metrics.WEBHOOKS_LIMITED.labels("", "connections").inc()
            self._turned_away += 1
            return False
        self.connections.add(connection)
        return True

    async def sweep(self) -> None:
        """Hold the limits on time, for ever."""
        loop = asyncio.get_running_loop()
        interval_s = min(1.0, self.settings.answer_timeout_s / SWEEPS_PER_ANSWER)
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
        for connection in tuple(self.connections):
            connection.finish()
        while self.connections:  # noqa: ASYNC110 - connections do not tell each other when they end
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(receiver: Receiver, settings: IngestSettings) -> AsyncIterator[int]:
    """Serve for as long as the block lasts; yields the port, which the system chose if 0 was asked for.

    Raises:
        OSError: the address cannot be bound.
    """
    server = Server(settings)
    # The protocol is named because asyncio switches Nagle's algorithm off only then: 40 ms an answer otherwise.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with sock:
        sock.bind((settings.host, settings.port))
        loop = asyncio.get_running_loop()
        accepting = await loop.create_server(partial(Connection, server, receiver), sock=sock, backlog=BACKLOG)
        sweeping = asyncio.create_task(server.sweep(), name="http-sweep")
        try:
            yield int(sock.getsockname()[1])
        finally:
            accepting.close()
            await server.finish()
            sweeping.cancel()
