"""The checks of ServiceTrade: each account's session, and with it its subscriptions, which log nobody in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from doctor.checks_subscriptions import subscription_findings
from doctor.finding import SERVICETRADE, SUBSCRIPTIONS, Finding
from doctor.patience import Patience
from doctor.session import Patient, Visit, check_session, late
from runtime.http import http_client
from runtime.settings import Settings
from runtime.toml_reader import Secret
from schemas.errors import ApiError, PermissionDenied, ServiceTradeError, SettingsError
from servicetrade.account import Account
from servicetrade.auth import CookieCalls
from servicetrade.catalogue import Catalogue
from servicetrade.hook_events import all_types
from servicetrade.session import PrivateSession
from servicetrade.session_store import SessionStore
from servicetrade.subscription_plan import Hook, read_hook
from servicetrade.subscriptions import PERMISSION, WEBHOOK, owner_of

AT_ONCE = 16
"""Accounts that are asked about at the same time."""
_ALL = "all accounts"

Tell = Callable[[Finding], None]


def not_checked(why: str, tell: Tell) -> None:
    """Tell that nothing of it was checked."""
    tell(SERVICETRADE.not_checked(_ALL, why))
    tell(SUBSCRIPTIONS.not_checked(_ALL, why))


async def check_servicetrade(
    settings: Settings, store: SessionStore, tell: Tell, patience: Patience, *, login: bool
) -> None:
    """Tell what is found of each account: first all sessions, then all subscriptions."""
    there, turns = settings.servicetrade, asyncio.Semaphore(AT_ONCE)
    catalogue = Catalogue(there.types)
    async with http_client(
        base_url=there.base_url.rstrip("/") + "/api",
        timeout_s=there.timeout_s,
        headers={"Accept": "application/json"},
        # As the workers: a proxy of the environment is for the way out, not for a simulator nearby.
        trust_env=there.base_url.startswith("https://"),
    ) as http:

        def visit(name: str, token: Secret) -> Account:
            return Account(name, http, PrivateSession(token), there, catalogue)

        patients = [
            Patient(
                name=name,
                username=account.username,
                fingerprints=store.fingerprints(account.username, account.password),
                calls=CookieCalls(name, account, http, there.login),
                visit=partial(visit, name),
            )
            for name, account in settings.accounts.items()
        ]

        async def session(patient: Patient) -> Visit:
            try:
                async with asyncio.timeout(patience.session_s), turns:
                    return await check_session(patient, store, there.login, login=login)
            except TimeoutError:
                return late(patient, patience.session_s)

        async def hooks(patient: Patient, token: Secret | None) -> list[Finding]:
            return await _subscriptions(settings, patient, token, turns, patience.hooks_s)

        visits = [asyncio.create_task(session(patient)) for patient in patients]
        checked = []
        try:
            tokens = []
            for one in visits:
                tell((found := await one).finding)
                tokens.append(found.token)
            checked = [asyncio.create_task(hooks(*known)) for known in zip(patients, tokens, strict=True)]
            for several in checked:
                for finding in await several:
                    tell(finding)
        finally:
            for task in (*visits, *checked):
                task.cancel()
            await asyncio.gather(*visits, *checked, return_exceptions=True)


async def _subscriptions(
    settings: Settings, patient: Patient, token: Secret | None, turns: asyncio.Semaphore, patience_s: float
) -> list[Finding]:
    name = patient.name
    if token is None:
        return [SUBSCRIPTIONS.not_checked(name, "there is no session to ask with")]
    try:
        owner = owner_of(settings, name)
    except SettingsError:
        return [SUBSCRIPTIONS.not_checked(name, "which webhooks are ours cannot be told without ingest.public_url")]
    try:
        async with asyncio.timeout(patience_s), turns:
            hooks = await _hooks(patient.visit(token))
    except PermissionDenied:
        what = f"the ServiceTrade user {patient.username} may not see webhooks"
        return [SUBSCRIPTIONS.failed(name, what, f"give it the permission {PERMISSION} in ServiceTrade")]
    except (ServiceTradeError, ValueError, TimeoutError) as error:
        # What ServiceTrade says may hold a URL with its secret.
        said = (
            f"HTTP {error.status}"
            if isinstance(error, ApiError)
            else str(error) or f"no answer within {patience_s:g} s"
        )
        return [SUBSCRIPTIONS.failed(name, f"ServiceTrade does not show its webhooks: {said}", "try again later")]
    return subscription_findings(owner, hooks, all_types(settings.servicetrade.types))


async def _hooks(account: Account) -> list[Hook]:
    found = [read_hook(one) async for one in account.list(WEBHOOK)]
    # By id: what changes between two pages of a list can show up twice.
    return list({hook.id: hook for hook in found}.values())
