"""A TCP proxy on loopback whose connections can be stalled, slowed and cut, and that loses no byte of a living one."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from runtime.broker_config import HOST

CHUNK_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)  # linger for no time at all: closing sends RST, not FIN; socket(7)


class Proxy:
    """Forwards connections on `port` to `upstream_port`, for the length of an `async with` block."""

    def __init__(self, *, port: int, upstream_port: int) -> None:
        self.port = port
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_s = 0.0
        self._bytes_per_s: float | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._handle, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def stall(self) -> None:
        """Hold every byte, and new connections too, until `resume`."""
        self._flowing.clear()

    def slow(self, *, delay_s: float = 0, bytes_per_s: float | None = None) -> None:
        """Hold each chunk for `delay_s` seconds, and let no connection carry more than `bytes_per_s` each way."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    def resume(self) -> None:
        """Let everything flow again, as fast as it can."""
        self._delay_s, self._bytes_per_s = 0.0, None
        self._flowing.set()

    def cut(self) -> int:
        """Reset every connection; what is on its way is lost. Returns how many there were."""
        cut = len(self._handlers)
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        return cut

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._handlers.add(task)
        try:
            await self._forward(reader, writer)
        except asyncio.CancelledError:  # asyncio's server reports a cancelled handler as an error of its own
            pass
        finally:
            self._handlers.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until both directions have ended, or one has failed."""
        ends = {writer}
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self._upstream_port)
            ends.add(upstream_writer)
            self._writers.add(upstream_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, upstream_writer))
                pumps.create_task(self._pump(upstream_reader, writer))
            for end in ends:
                end.close()
        except (OSError, BaseExceptionGroup):  # one side is gone: the other has to learn it
            pass
        finally:
            for end in ends:
                if not end.is_closing():
                    end.transport.abort()
                with suppress(OSError):
                    await end.wait_closed()
                self._writers.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._hold(len(chunk))
            writer.write(chunk)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _hold(self, size: int) -> None:
        await self._flowing.wait()
        wait_s = self._delay_s + (size / self._bytes_per_s if self._bytes_per_s else 0)
        if wait_s:
            await asyncio.sleep(wait_s)
            await self._flowing.wait()
