"""Lets an operator allow logins again for an account whose credentials were refused."""

from __future__ import annotations

from runtime.database import open_database
from runtime.settings import Settings
from schemas.errors import SettingsError
from servicetrade.session_store import SessionStore


async def unlock_account(settings: Settings, account: str) -> bool:
    """Forget the refusal, the failures and the pause.

    Returns:
        False if the account never had a session.

    Raises:
        SettingsError: no such account is configured.
    """
    if account not in settings.accounts:
        raise SettingsError(f"{account}: no such account; configured: {', '.join(settings.accounts)}")
    async with open_database(settings.store) as database:
        sessions = SessionStore(database, settings.store.key)
        await sessions.create_tables()
        return await sessions.unlock(account)
