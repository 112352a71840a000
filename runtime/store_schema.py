"""Brings the SQL store to the schema that this program was written for, whatever version made it."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from runtime.database import TABLES_LOCK, Database, reading, transaction
from runtime.logs import log_event
from schemas.errors import StoreError

_log = logging.getLogger(__name__)

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


async def upgrade(engine: Database) -> None:
    """Do the migrations that were not done yet, all of them or none; several processes may call this at once.

    What is up to date costs one look, and takes no lock. Sinks of an older version have to be stopped before.

    Args:
        engine: from `runtime.database.open_database`.

    Raises:
        StoreError: the database does not do it, or a newer version of the program has migrated it.
    """
    before = await applied_step(engine)
    if before != known_steps()[-1]:
        await _migrate(engine)
        log_event(_log, "store.migrated", before=before, now=known_steps()[-1])


def known_steps() -> list[str]:
    """The steps that there are, in order; each file begins with the four digits of its own."""
    return sorted(path.name[:4] for path in _VERSIONS.glob("[0-9]*.py"))


@transaction
async def applied_step(engine: Database) -> str | None:
    """The last migration that the store has had, four digits; None: it has no tables, or those of version 0.1.0.

    Raises:
        StoreError: as `upgrade`.
    """
    async with reading(engine).begin() as connection:
        return await connection.run_sync(_version)


def _version(connection: Connection) -> str | None:
    """The last step that was done; None: none was."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    known = known_steps()
    if version is not None and version not in known:
        raise StoreError(
            f"store.url: a newer tradewind has migrated the store (to step {version}, this one knows {known[-1]}): "
            "start that one, or restore a backup"
        )
    return version


@transaction
async def _migrate(engine: Database) -> None:
    # Half a second, and as much memory as SQLAlchemy: only for who needs it.
    from runtime.store_migration import migrate  # noqa: PLC0415

    async with engine.begin() as connection:
        # BEGIN IMMEDIATE lets one process in at a time on SQLite, this lock on PostgreSQL.
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": TABLES_LOCK})
        if await connection.run_sync(_version) != known_steps()[-1]:
            await connection.run_sync(migrate)
