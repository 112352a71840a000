"""Write what a process prints to a log file of bounded size, and hand on its lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

OnLine = Callable[[str, str], None]

_MAX_BYTES = 16 * 1024**2
_MAX_LINE_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_CLOSE_DEADLINE_S = 1.0
_SETTLE_DEADLINE_S = 0.2


class ProcessLog:
    """The log of one supervised process, appended to over its restarts; at 16 MiB it moves to `<name>.log.1`.

    Args:
        path: the file.
        name: whose log it is; the first argument of `on_line`.
        on_line: told of each line, without its end; longer ones than 64 KiB come in pieces.
    """

    def __init__(self, path: Path, *, name: str, on_line: OnLine | None = None) -> None:
        self.path = path
        self._name = name
        self._on_line = on_line
        self._pumps: set[asyncio.Task[None]] = set()

    async def open_pipe(self) -> int:
        """Start a pump and give the file descriptor to write to; the caller closes its copy of it."""
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader()
        file = os.fdopen(read_end, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        pump = asyncio.create_task(self._pump(reader, transport), name=f"log {self._name}")
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        return write_end

    async def settle(self) -> None:
        """Wait until the last words of a process that ended are handed on; 0.2 s at most: a grandchild may talk on."""
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=_SETTLE_DEADLINE_S)

    async def close(self) -> None:
        """Wait for the last output; give up after 1 s if a grandchild holds the pipe open."""
        if self._pumps:
            _, late = await asyncio.wait(self._pumps, timeout=_CLOSE_DEADLINE_S)
            for pump in late:
                pump.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def note(self, text: str) -> None:
        """Add a line of the supervisor's own."""
        with self.path.open("ab") as file:
            file.write(f"[supervisor] {text}\n".encode())

    def tail(self, lines: int = 10) -> str:
        """Give the last lines of the file, or nothing if there is none."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _CHUNK))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    async def _pump(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        file = self.path.open("ab", buffering=0)
        rest = b""
        try:
            while chunk := await reader.read(_CHUNK):
                if file.tell() > _MAX_BYTES:
                    file = self._rotated(file)
                file.write(chunk)
                if self._on_line is not None:
                    rest = self._hand_on(rest + chunk)
            if rest and self._on_line is not None:
                self._on_line(self._name, rest.decode("utf-8", "replace"))
        finally:
            file.close()
            transport.close()

    def _rotated(self, file: FileIO) -> FileIO:
        file.close()
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        return self.path.open("ab", buffering=0)

    def _hand_on(self, data: bytes) -> bytes:
        *lines, rest = data.split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        for line in lines:
            if self._on_line is not None:
                self._on_line(self._name, line.rstrip(b"\r").decode("utf-8", "replace"))
        return rest
