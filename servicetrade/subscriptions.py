"""Asks ServiceTrade for an account's webhook subscriptions, and carries out what the plan says about them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeAlias, TypeVar

from runtime.hook_secrets import fingerprint_of
from runtime.settings import Settings
from schemas.errors import ApiError, NotFound, PermissionDenied, ServiceTradeError, SettingsError
from servicetrade.account import Account
from servicetrade.client import ServiceTradeClient
from servicetrade.hook_url import read_base, without_path
from servicetrade.subscription_plan import (
    Action,
    Create,
    Delete,
    Hook,
    Owner,
    Plan,
    Update,
    Wanted,
    plan,
    read_hook,
    removal,
)

T = TypeVar("T")
Report: TypeAlias = Callable[[Action], None]

WEBHOOK = "webhook"
PERMISSION = "admin.account"


def owner_of(settings: Settings, account: str, url: str | None = None) -> Owner:
    """Whose webhooks are ours, by the configuration.

    Args:
        settings: all of them.
        account: its name.
        url: instead of ingest.public_url.

    Raises:
        SettingsError: there is no such account, or no base URL that ServiceTrade could be told.
    """
    require_account(settings, account)
    base = settings.ingest.public_url if url is None else url
    if base is None:
        raise SettingsError("ingest.public_url: how ServiceTrade reaches ingest is needed here; or say it with --url")
    try:
        read = read_base(base)
    except ValueError as error:
        raise SettingsError(f"{'ingest.public_url' if url is None else '--url'}: {error}") from None
    return Owner(base=read, account=account, secrets=settings.accounts[account].live_secrets)


def require_account(settings: Settings, account: str) -> None:
    """Raise SettingsError unless the account is configured."""
    if account not in settings.accounts:
        raise SettingsError(f"{account}: no such account; configured: {', '.join(settings.accounts)}")


def shown_url(url: str, owner: Owner | None) -> str:
    """What can be shown of a hookUrl: ours with the secret's fingerprint, of others' scheme and host."""
    secret = None if owner is None else owner.base.secret_in(url, owner.account)
    if owner is None or secret is None:
        return without_path(url)
    return owner.base.url(owner.account, f"sha256:{fingerprint_of(secret)}")


class Subscriptions:
    """The webhook subscriptions of one account.

    All methods may raise ServiceTradeError: besides what `Account` raises, if ServiceTrade does not do as it says.
    A PermissionDenied says which user lacks which permission. What ServiceTrade says about a URL is left out.
    """

    def __init__(self, settings: Settings, client: ServiceTradeClient, account: str) -> None:
        self._name = account
        self._username = settings.accounts[account].username
        self._account: Account = client.account(account)
        marks = "|".join(["://", "/webhooks/", *map(re.escape, settings.accounts[account].live_secrets)])
        self._secretive = re.compile(rf"\S*(?:{marks})\S*")

    async def hooks(self) -> list[Hook]:
        """All webhooks that the account has on ServiceTrade, also those that are not ours, in the order of ids."""
        return await self._explained("show its webhooks", self._listed())

    async def planned(self, wanted: Wanted) -> Plan:
        """What `subscribe` would do now."""
        return plan(await self.hooks(), wanted)

    async def subscribe(self, wanted: Wanted, report: Report) -> Hook:
        """Make sure that of ours there is exactly the wanted webhook; `report` is told of each step once it is done.

        Nothing is deleted before ServiceTrade has shown the right one. Whoever does the same at the same time comes to
        keep the same one.

        Returns:
            the right webhook.
        """
        todo = await self.planned(wanted)
        if todo.make is not None:
            made = await self._make(todo.make, wanted)
            if made is not None:
                report(made)
            todo = await self.planned(wanted)
        if todo.make is not None or todo.keep is None:
            raise ServiceTradeError(
                f"account {self._name}: ServiceTrade took the webhook, but does not show it as it was asked to be; "
                "nothing was deleted; look again with `tradewind subscriptions`"
            )
        await self._delete(todo.deletes, report)
        return todo.keep

    async def unsubscribe(self, owner: Owner, report: Report) -> None:
        """Delete all webhooks that are ours; `report` is told of each."""
        await self._delete(removal(await self.hooks(), owner), report)

    async def _make(self, make: Create | Update, wanted: Wanted) -> Create | Update | None:
        try:
            await self._perform(make)
        except NotFound:
            if isinstance(make, Create):
                raise
        else:
            return make
        # Somebody deleted it after it was listed: from the start, once.
        again = (await self.planned(wanted)).make
        if again is not None:
            await self._perform(again)
        return again

    async def _delete(self, deletes: Iterable[Delete], report: Report) -> None:
        for delete in deletes:
            with suppress(NotFound):
                await self._perform(delete)
            report(delete)

    async def _perform(self, action: Action) -> None:
        account = self._account
        match action:
            case Create(body=body):
                await self._explained("make the webhook", account.create(WEBHOOK, body))
            case Update(hook=hook, body=body):
                await self._explained(f"change webhook {hook.id}", account.update(WEBHOOK, hook.id, body))
            case Delete(hook=hook):
                await self._explained(f"delete webhook {hook.id}", account.delete(WEBHOOK, hook.id))

    async def _listed(self) -> list[Hook]:
        try:
            found = [read_hook(one) async for one in self._account.list(WEBHOOK)]
        except ValueError as error:
            raise ServiceTradeError(f"account {self._name}: ServiceTrade shows {error}") from error
        # By id: what changes between two pages of a list can show up twice.
        return sorted({hook.id: hook for hook in found}.values(), key=lambda hook: hook.id)

    async def _explained(self, what: str, call: Awaitable[T]) -> T:
        try:
            return await call
        except ApiError as error:
            failure = self._failure(what, error)
        # Not inside the except: the answer's own words, which may hold a URL, would go along as the context.
        raise failure

    def _failure(self, what: str, error: ApiError) -> ApiError:
        if isinstance(error, PermissionDenied):
            sentence = f"the ServiceTrade user {self._username} needs the permission {PERMISSION} to manage webhooks"
        else:
            sentence = f"ServiceTrade did not {what}"
        said = (self._secretive.sub("…", text) for text in error.messages)
        messages = (f"account {self._name}: {sentence}", *said)
        return type(error)(error.status, messages, retry_after_s=error.retry_after_s)
