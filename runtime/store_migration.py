"""Runs the migrations with Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def migrate(connection: Connection, *, to: str = "head") -> None:
    """Do what was not done yet, in the transaction that the connection is in.

    Alembic keeps what it works on in a module, so no other migration may run in this process meanwhile.

    Args:
        connection: in a transaction in which it alone may migrate.
        to: the last step to do.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
