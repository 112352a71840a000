"""`tradewind subscribe`, `subscriptions` and `unsubscribe`: the webhooks of the accounts, without showing a secret."""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table

from cli.console import DEFAULT_CONFIG, ERR, FAILED, OK, OUT, Config
from runtime.hook_secrets import fingerprint_of
from runtime.settings import Settings, read_settings
from schemas.errors import ServiceTradeError, SettingsError
from schemas.printable import printable
from servicetrade.client import ServiceTradeClient, open_servicetrade
from servicetrade.hook_events import Events, all_types, events_about, shown_events
from servicetrade.subscription_plan import Action, Create, Delete, Hook, Owner, Update, Verdict, Wanted, judged, removal
from servicetrade.subscriptions import Subscriptions, owner_of, require_account, shown_url

subscription_app = App(name="tradewind", help="The webhook subscriptions of the accounts on ServiceTrade.")

Url = Annotated[
    str | None,
    Parameter(help="How ServiceTrade reaches ingest, up to where /webhooks begins (default: ingest.public_url)."),
]
Types = Annotated[
    str | None, Parameter(help="Only about these types, separated by commas: job,appointment (default: everything).")
]
Changesets = Annotated[bool, Parameter(help="Whether webhooks say what has changed.")]
DryRun = Annotated[bool, Parameter(help="Only say what would be done.", negative="")]

_STYLES = {
    Verdict.OK: "green",
    Verdict.OLD_SECRET: "yellow",
    Verdict.DUPLICATE: "yellow",
    Verdict.DISABLED: "bold red",
    Verdict.RETIRED_SECRET: "bold red",
    Verdict.NOT_OURS: "dim",
}
_UNTOLD = "?"
_WIDE = 10_000


@subscription_app.command
def subscribe(
    account: str,
    /,
    *,
    types: Types = None,
    changesets: Changesets = True,
    url: Url = None,
    dry_run: DryRun = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Have ServiceTrade send the webhooks of ACCOUNT to ingest; does nothing where all is right.

    Of our webhooks for the account exactly one is left: enabled, with the newest secret. ingest has to know that secret
    first: ServiceTrade takes the refusal of an unknown one for "delivered", and the webhook is lost.
    """
    settings = read_settings(config)
    owner = owner_of(settings, account, url)
    wanted = Wanted(owner=owner, include_changesets=changesets, events=_events(settings, types))
    return asyncio.run(_subscribe(settings, wanted, dry_run=dry_run))


@subscription_app.command
def subscriptions(*accounts: str, url: Url = None, config: Config = DEFAULT_CONFIG) -> int:
    """Show the webhooks of ACCOUNTS (default: all) on ServiceTrade; exit code 1 if one has none that is ok."""
    settings = read_settings(config)
    names = accounts or tuple(settings.accounts)
    for name in names:
        require_account(settings, name)
    owners = {name: _owner_if_told(settings, name, url) for name in names}
    return asyncio.run(_show(settings, owners))


@subscription_app.command
def unsubscribe(account: str, /, *, url: Url = None, dry_run: DryRun = False, config: Config = DEFAULT_CONFIG) -> int:
    """Delete our webhooks for ACCOUNT on ServiceTrade; those that lead elsewhere stay."""
    settings = read_settings(config)
    return asyncio.run(_unsubscribe(settings, owner_of(settings, account, url), dry_run=dry_run))


def _events(settings: Settings, types: str | None) -> Events:
    if types is None:
        return None
    names = [name.strip().lower() for name in types.split(",") if name.strip()]
    if not names:
        raise SettingsError("--types: names at least one type; without it, webhooks come about everything")
    try:
        return events_about(names, all_types(settings.servicetrade.types))
    except ValueError as error:
        raise SettingsError(f"--types: {error}") from None


def _owner_if_told(settings: Settings, account: str, url: str | None) -> Owner | None:
    return None if url is None and settings.ingest.public_url is None else owner_of(settings, account, url)


async def _subscribe(settings: Settings, wanted: Wanted, *, dry_run: bool) -> int:
    owner, done = wanted.owner, list[Action]()

    def report(action: Action) -> None:
        done.append(action)
        _say(owner, _sentence(action, settings, wanted, would=dry_run))

    async with open_servicetrade(settings) as client:
        subscribed = Subscriptions(settings, client, owner.account)
        if dry_run:
            planned = await subscribed.planned(wanted)
            right = planned.keep
            for action in planned.actions:
                report(action)
        else:
            right = await subscribed.subscribe(wanted, report)
    if right is not None and not done:
        _say(owner, f"nothing to do: webhook {right.id} is as it should be: {_described(wanted, settings)}")
    if not dry_run and any(isinstance(action, Delete) and action.why is Verdict.OLD_SECRET for action in done):
        retire = f"`tradewind secret retire {owner.account} {fingerprint_of(owner.secrets[0])}`"
        _say(owner, f"what is under way still comes with the old secret: wait some minutes before {retire}")
    return OK


async def _unsubscribe(settings: Settings, owner: Owner, *, dry_run: bool) -> int:
    done = list[Action]()

    def report(action: Action) -> None:
        done.append(action)
        _say(owner, _sentence(action, settings, None, would=dry_run))

    async with open_servicetrade(settings) as client:
        subscribed = Subscriptions(settings, client, owner.account)
        if dry_run:
            for action in removal(await subscribed.hooks(), owner):
                report(action)
        else:
            await subscribed.unsubscribe(owner, report)
    if not done:
        _say(owner, f"nothing to do: no webhook leads to {owner.base.text}/webhooks/{owner.account}/…")
    return OK


def _sentence(action: Action, settings: Settings, wanted: Wanted | None, *, would: bool) -> str:
    match action:
        case Create():
            said = f"{'would create' if would else 'created'} a webhook"
        case Update(hook=hook, drifted=drifted):
            said = f"{'would change' if would else 'changed'} {', '.join(drifted)} of webhook {hook.id}"
        case Delete(hook=hook, why=why):
            return f"{'would delete' if would else 'deleted'} webhook {hook.id} ({why})"
    return said if wanted is None else f"{said}: {_described(wanted, settings)}"


def _described(wanted: Wanted, settings: Settings) -> str:
    types = all_types(settings.servicetrade.types)
    changesets = "with changesets" if wanted.include_changesets else "without changesets"
    return f"{shown_url(wanted.owner.url, wanted.owner)}, {shown_events(wanted.events, types)}, {changesets}"


def _say(owner: Owner, sentence: str) -> None:
    OUT.print(f"{owner.account}: {sentence}", highlight=False, markup=False, soft_wrap=True)


async def _show(settings: Settings, owners: dict[str, Owner | None]) -> int:
    table = Table("account", "id", "verdict", "enabled", "changesets", "types", "URL", box=None, pad_edge=False)
    all_ok = True
    async with open_servicetrade(settings) as client:
        for account, owner in owners.items():
            all_ok = await _show_account(settings, client, account, owner, table) and all_ok
    if table.row_count:
        # One line per webhook, whatever the width: they are searched and copied from.
        table.width = OUT.measure(table, options=OUT.options.update(width=_WIDE)).maximum
        OUT.print(table, highlight=False, crop=False, soft_wrap=True)
    if None in owners.values():
        _warn("which webhooks are ours cannot be told: ingest.public_url is not set; or say it with --url")
    return OK if all_ok else FAILED


async def _show_account(
    settings: Settings, client: ServiceTradeClient, account: str, owner: Owner | None, table: Table
) -> bool:
    """Add the account's rows; whether one of its webhooks is ok."""
    try:
        hooks = await Subscriptions(settings, client, account).hooks()
    except ServiceTradeError as error:
        _warn(f"{account}: cannot be told: {error}")
        return False
    verdicts: list[tuple[Hook, Verdict | None]] = [(hook, None) for hook in hooks]
    if owner is not None:
        verdicts = [*judged(hooks, owner)]
    types = all_types(settings.servicetrade.types)
    for hook, verdict in verdicts:
        shown = _UNTOLD if verdict is None else f"[{_STYLES[verdict]}]{verdict}[/]"
        events, url = shown_events(hook.events, types), shown_url(hook.url, owner)
        switches = ("yes" if on else "no" for on in (hook.enabled, hook.include_changesets))
        table.add_row(
            escape(account), str(hook.id), shown, *switches, escape(printable(events)), escape(printable(url))
        )
    if not hooks:
        table.add_row(escape(account), "-", "none", "-", "-", "-", "-")
    return any(verdict is Verdict.OK for _, verdict in verdicts)


def _warn(sentence: str) -> None:
    ERR.print(sentence, highlight=False, markup=False, soft_wrap=True)
