"""The table `commands`: what became of every command, so that a repeat is not performed again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Row, String, Table, Text, select
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.database import database_now, reading, transaction, upsert
from schemas.command import Command, decode_result
from schemas.encoding import encode
from sinks.command_core import Known

METADATA = MetaData()

COMMANDS = Table(
    "commands",
    METADATA,
    Column("account", String(63), primary_key=True),
    Column("command_id", String(200), primary_key=True),
    # For people; of two commands with one id the fingerprint tells which was first.
    Column("method", String(6), nullable=False),
    Column("entity_type", String(64), nullable=False),
    Column("entity_id", String(19)),
    Column("fingerprint", String(64), nullable=False),
    # open, sent, or an outcome: see sinks/command_core.py.
    Column("state", String(9), nullable=False),
    Column("attempts", Integer, nullable=False),
    # Of the record in servicetrade.commands that was last acted on; -1: of none yet.
    Column("record_offset", BigInteger, nullable=False),
    # Changes with every write.
    Column("token", String(32), nullable=False),
    # Unix milliseconds, the database's. NULL: never sent.
    Column("sent_ms", BigInteger),
    Column("saved_ms", BigInteger, nullable=False),
    # JSON, as it was told on servicetrade.results. NULL: there was no outcome yet.
    Column("result", Text),
)

_KEY = ("account", "command_id")


class CommandStore:
    """Every method is one transaction, and safe to call from any number of processes."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @transaction
    async def find(self, account: str, command_id: str) -> Known | None:
        """What is known about a command; None: nothing."""
        query = select(COMMANDS, database_now().label("now_ms")).where(
            COMMANDS.c.account == account, COMMANDS.c.command_id == command_id
        )
        async with reading(self._engine).begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _known(row)

    @transaction
    async def save(self, command: Command, after: Known, token: str, *, sent_now: bool) -> Known | None:
        """Replace what is known about a command, if nobody else has since `after.token` was read.

        Args:
            command: whose row it is.
            after: what is to be known.
            token: that no write has had before; becomes that of the row.
            sent_now: the intent to send it is what is written.

        Returns:
            What is known now; None: somebody else has written, and nothing was done.
        """
        values: dict[str, Any] = {
            "account": command.account,
            "command_id": command.id,
            "method": command.method,
            "entity_type": command.entity_type,
            "entity_id": command.entity_id,
            "fingerprint": after.fingerprint,
            "state": after.state,
            "attempts": after.attempts,
            "record_offset": after.offset,
            "token": token,
            "sent_ms": database_now() if sent_now else after.sent_ms,
            "saved_ms": database_now(),
            "result": None if after.result is None else encode(after.result).decode(),
        }
        async with self._engine.begin() as connection:
            statement = upsert(
                connection,
                COMMANDS,
                values,
                update=[name for name in values if name not in _KEY],
                where=lambda _: COMMANDS.c.token == after.token,
            ).returning(COMMANDS.c.sent_ms)
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else replace(after, token=token, sent_ms=row.sent_ms, age_s=0.0)

    @transaction
    async def read(self, account: str, command_id: str) -> Row[Any] | None:
        """A command's row, for people; None: nothing is known about it."""
        query = select(COMMANDS).where(COMMANDS.c.account == account, COMMANDS.c.command_id == command_id)
        async with reading(self._engine).begin() as connection:
            return (await connection.execute(query)).one_or_none()


def _known(row: Row[Any]) -> Known:
    return Known(
        fingerprint=row.fingerprint,
        state=row.state,
        attempts=row.attempts,
        offset=row.record_offset,
        token=row.token,
        sent_ms=row.sent_ms,
        age_s=0.0 if row.sent_ms is None else max(0, row.now_ms - row.sent_ms) / 1000,
        result=None if row.result is None else decode_result(row.result.encode()),
    )
