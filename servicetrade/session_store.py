"""Keeps one session per account in the SQL store, where all processes share it, by small compare-and-swap steps."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Row, String, Table, Text, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import ColumnElement

from runtime.database import create_tables, database_now, reading, transaction, upsert
from runtime.settings import LONGEST_LEASE_S, LONGEST_PAUSE_S
from runtime.toml_reader import Secret
from schemas.errors import SettingsError
from servicetrade.stored_session import StoredSession

METADATA = MetaData()

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("account", String(63), primary_key=True),
    # Grows by one with every login; 0: there was none yet.
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Column("token", LargeBinary),
    # Of the credentials that made the session.
    Column("fingerprint", String(64)),
    Column("made_ms", BigInteger, nullable=False, server_default="0"),
    # A 401 makes the session a suspect: `suspicions` counts them, `cleared` is how many of them GET /auth has since
    # proved wrong. The token stays until GET /auth says that it is dead.
    Column("suspicions", BigInteger, nullable=False, server_default="0"),
    Column("cleared", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", String(63)),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("login_failures", BigInteger, nullable=False, server_default="0"),
    Column("not_before_ms", BigInteger, nullable=False, server_default="0"),
    # Of credentials with which a login was refused, separated by spaces: no other may be made with them.
    Column("refused_fingerprints", Text, nullable=False, server_default=""),
    Column("refused_reason", Text),
    Column("updated_ms", BigInteger, nullable=False, server_default="0"),
)

_MOST_REFUSED = 8
_FREE: dict[str, Any] = {"lease_owner": None, "lease_until_ms": 0}


class SessionStore:
    """The table `sessions`. Every method is one transaction, safe to call from any number of processes; StoreError.

    Args:
        engine: from `runtime.database.open_database`.
        key: one Fernet key, or several separated by white space: the first encrypts, all decrypt.

    Raises:
        SettingsError: the key is no Fernet key.
    """

    def __init__(self, engine: AsyncEngine, key: Secret) -> None:
        self._engine = engine
        self._keys = [part.encode() for part in key.reveal().split()]
        try:
            self._fernet = MultiFernet([Fernet(part) for part in self._keys])
        except ValueError as error:
            raise SettingsError("store.key: not a Fernet key (`tradewind key` prints a new one)") from error

    async def create_tables(self) -> None:
        """Create the table if it does not exist; several processes may do so at the same time."""
        await create_tables(self._engine, METADATA)

    def fingerprints(self, username: str, password: Secret) -> tuple[str, ...]:
        """What stands for these credentials in the store, one per key: the first is for writing.

        Keyed, so that a stolen store gives nothing to guess passwords against. With all keys, so that processes in
        the middle of a key rotation agree on which credentials were refused.
        """
        credentials = f"{username}\0{password.reveal()}".encode()
        return tuple(hmac.new(key, credentials, hashlib.sha256).hexdigest() for key in self._keys)

    @transaction
    async def read(self, account: str) -> StoredSession:
        """The account's row; an absent one reads as generation 0."""
        query = select(SESSIONS, database_now().label("now_ms")).where(SESSIONS.c.account == account)
        async with reading(self._engine).begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return StoredSession() if row is None else self._stored(row)

    async def purge(self, account: str, generation: int) -> int | None:
        """Make the session a suspect: nobody uses it until GET /auth has proved it alive.

        Returns:
            The number of this suspicion (it is refuted when `cleared` reaches it), or None if the generation has
            moved on, and nothing was done.
        """
        values = {"suspicions": SESSIONS.c.suspicions + 1}
        row = await self._change(account, values, SESSIONS.c.generation == generation)
        return None if row is None else row.suspicions

    async def try_lease(self, account: str, owner: str, generation: int, ttl_s: float) -> StoredSession | None:
        """Become the only one who may verify or replace this generation, for `ttl_s` seconds.

        Returns:
            The row as it is now, or None if someone else holds the lease or the generation has moved on.
        """
        now = database_now()
        free = or_(SESSIONS.c.lease_until_ms <= now, SESSIONS.c.lease_until_ms > now + round(LONGEST_LEASE_S * 1000))
        values = {"lease_owner": owner, "lease_until_ms": now + round(min(ttl_s, LONGEST_LEASE_S) * 1000)}
        row = await self._change(account, values, SESSIONS.c.generation == generation, free, create=generation == 0)
        return None if row is None else self._stored(row)

    async def restore(self, account: str, owner: str, generation: int, suspicions: int) -> bool:
        """The lease holder found the session alive, having read `suspicions` before it asked; gives the lease back."""
        values = {"cleared": suspicions, "login_failures": 0, **_FREE}
        return await self._change(account, values, *_held(owner, generation)) is not None

    async def bury(self, account: str, owner: str, generation: int) -> bool:
        """The lease holder found the session dead; keeps the lease, to log in."""
        return await self._change(account, {"token": None}, *_held(owner, generation)) is not None

    async def save(
        self, account: str, owner: str, generation: int, token: Secret, *, fingerprint: str, login_interval_s: float
    ) -> int | None:
        """Store what the lease holder's login brought; gives the lease back.

        A lease that has run out but was taken by nobody still counts: nobody else has logged in.

        Args:
            account: whose session it is.
            owner: the lease holder.
            generation: which one the login replaces.
            token: the new session.
            fingerprint: the first of `fingerprints` of the credentials.
            login_interval_s: nobody logs in for so long.

        Returns:
            The new generation, or None if lease or generation were no longer the holder's: nothing was stored, and
            the new session is surplus.
        """
        values = {
            "generation": SESSIONS.c.generation + 1,
            "token": self._fernet.encrypt(token.reveal().encode()),
            "fingerprint": fingerprint,
            "made_ms": database_now(),
            "suspicions": 0,
            "cleared": 0,
            "login_failures": 0,
            "not_before_ms": _from_now(login_interval_s),
            **_FREE,
        }
        row = await self._change(account, values, *_held(owner, generation))
        return None if row is None else row.generation

    async def record_failure(self, account: str, owner: str, pause_s: float) -> bool:
        """/auth failed the lease holder: nobody asks it again or logs in for `pause_s`; gives the lease back."""
        failures = SESSIONS.c.login_failures + 1
        values = {"login_failures": failures, "not_before_ms": _from_now(pause_s), **_FREE}
        return await self._change(account, values, SESSIONS.c.lease_owner == owner) is not None

    async def record_refusal(
        self, account: str, owner: str, fingerprints: tuple[str, ...], reason: str, *, pause_s: float
    ) -> bool:
        """ServiceTrade refused the lease holder's credentials: they are not used again; gives the lease back.

        Args:
            account: whose credentials they are.
            owner: the lease holder.
            fingerprints: what the row holds as refused, and the first of `fingerprints` of these credentials; the last
                eight are kept.
            reason: one line for people.
            pause_s: other credentials wait for so long.
        """
        values = {
            "refused_fingerprints": " ".join(fingerprints[-_MOST_REFUSED:]),
            "refused_reason": reason,
            "login_failures": SESSIONS.c.login_failures + 1,
            "not_before_ms": _from_now(pause_s),
            **_FREE,
        }
        return await self._change(account, values, SESSIONS.c.lease_owner == owner) is not None

    async def release(self, account: str, owner: str, *, pause_s: float | None = None) -> bool:
        """Give the lease back, if it is still the owner's; with `pause_s`, nobody logs in for so long."""
        values = _FREE if pause_s is None else {"not_before_ms": _from_now(pause_s), **_FREE}
        return await self._change(account, values, SESSIONS.c.lease_owner == owner) is not None

    async def unlock(self, account: str) -> bool:
        """An operator allows logins at once: forgets refusals, failures and the pause. False: no such row."""
        values = {"refused_fingerprints": "", "refused_reason": None, "login_failures": 0, "not_before_ms": 0}
        return await self._change(account, values) is not None

    @transaction
    async def _change(
        self, account: str, values: dict[str, Any], *where: ColumnElement[bool], create: bool = False
    ) -> Row[Any] | None:
        change = (
            update(SESSIONS)
            .where(SESSIONS.c.account == account, *where)
            .values({**values, "updated_ms": database_now()})
            .returning(SESSIONS, database_now().label("now_ms"))
        )
        async with self._engine.begin() as connection:
            if create:
                await connection.execute(upsert(connection, SESSIONS, {"account": account}))
            row: Row[Any] | None = (await connection.execute(change)).one_or_none()
            return row

    def _stored(self, row: Row[Any]) -> StoredSession:
        token = self._decrypt(row.token)
        lease_left_s = (row.lease_until_ms - row.now_ms) / 1000
        login_wait_s = (row.not_before_ms - row.now_ms) / 1000
        return StoredSession(
            generation=row.generation,
            token=token,
            undecryptable=token is None and row.token is not None,
            fingerprint=row.fingerprint,
            made_ms=row.made_ms,
            suspicions=row.suspicions,
            cleared=row.cleared,
            lease_owner=row.lease_owner,
            lease_left_s=lease_left_s if 0 < lease_left_s <= LONGEST_LEASE_S else 0.0,
            login_wait_s=login_wait_s if 0 < login_wait_s <= LONGEST_PAUSE_S else 0.0,
            login_failures=row.login_failures,
            refused_fingerprints=tuple(row.refused_fingerprints.split()),
            refused_reason=row.refused_reason,
        )

    def _decrypt(self, token: bytes | None) -> Secret | None:
        if token is None:
            return None
        try:
            return Secret(self._fernet.decrypt(token).decode())
        except InvalidToken:
            return None


def _held(owner: str, generation: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return SESSIONS.c.lease_owner == owner, SESSIONS.c.generation == generation


def _from_now(seconds: float) -> ColumnElement[int]:
    return database_now() + round(min(seconds, LONGEST_PAUSE_S) * 1000)
