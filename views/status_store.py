"""Reads from the SQL store what is put aside, who is halted, and how the shared sessions are; changes nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, case, distinct, func, inspect, select

from runtime.database import Database, open_database, reading, transaction
from runtime.settings import Settings
from servicetrade.session_desk import SessionState
from servicetrade.session_store import SESSIONS, SessionStore
from sinks.parking_store import HALTS, PARKED, Halts
from views.status_data import Halted, Parked, Session, Stored


async def read_store(settings: Settings) -> Stored:
    """What the store tells; a table that nobody has made yet is empty.

    Raises:
        SettingsError: the store's URL or key is wrong.
        StoreError: there is no store, or it cannot be read.
    """
    async with open_database(settings.store, create=False) as database:
        tables = await _tables(database)
        return Stored(
            parked=await _parked(database) if PARKED.name in tables else (),
            halted=await _halted(database) if HALTS.name in tables else (),
            sessions=await _sessions(settings, database, known=SESSIONS.name in tables),
        )


@transaction
async def _tables(database: Database) -> set[str]:
    def names(connection: Connection) -> set[str]:
        return set(inspect(connection).get_table_names())

    async with reading(database).begin() as connection:
        return await connection.run_sync(names)


@transaction
async def _parked(database: Database) -> list[Parked]:
    whole = PARKED.c.whole_account
    alone = case((whole.is_(False), PARKED.c.key))
    query = (
        select(
            PARKED.c.sink,
            PARKED.c.account,
            func.count(case((whole.is_(True), 1))).label("whole_account"),
            func.count(alone).label("entity_records"),
            func.count(distinct(alone)).label("entities"),
            func.min(PARKED.c.parked_ms).label("since_ms"),
        )
        .group_by(PARKED.c.sink, PARKED.c.account)
        .order_by(PARKED.c.sink, PARKED.c.account)
    )
    async with reading(database).begin() as connection:
        return [_as_parked(row) for row in await connection.execute(query)]


def _as_parked(row: Row[Any]) -> Parked:
    return Parked(
        sink=row.sink,
        account=row.account,
        whole_account=row.whole_account,
        entity_records=row.entity_records,
        entities=row.entities,
        since_ms=row.since_ms,
    )


async def _halted(database: Database) -> list[Halted]:
    return [Halted(sink=one.sink, reason=one.reason, since_ms=one.since_ms) for one in await Halts(database).all()]


async def _sessions(settings: Settings, database: Database, *, known: bool) -> list[Session]:
    """Of every configured account, in the order of the configuration."""
    store = SessionStore(database, settings.store.key)
    found = []
    for account, credentials in settings.accounts.items() if known else ():
        row = await store.read(account)
        fingerprints = store.fingerprints(credentials.username, credentials.password)
        refused = row.refuses(fingerprints)
        state = SessionState(account=account, row=row, refused=refused, foreign=row.made_by_others(fingerprints))
        found.append(
            Session(
                account=account,
                state=state.word,
                generation=row.generation,
                made_ms=row.made_ms,
                refused=refused,
                reason=row.refused_reason or "",
            )
        )
    return found
