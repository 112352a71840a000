"""`tradewind secret`: the secrets of the accounts' webhook URLs, made and retired without a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.console import DEFAULT_CONFIG, OK, OUT, Config
from runtime.hook_secrets import ages, fingerprint_of
from runtime.secret_file import add_secret, new_secret, retire_secret
from runtime.settings import AccountSettings, read_settings
from schemas.errors import SettingsError

secret_app = App(name="secret", help="The secrets of the accounts' webhook URLs.")

Accounts = Mapping[str, AccountSettings]


@secret_app.command
def new(
    account: str | None = None,
    /,
    *,
    print_only: Annotated[
        bool, Parameter(name="--print", help="Print a new secret, and change nothing.", negative="")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> int:
    """Add a new secret to the file of ACCOUNT, beside the present one, which stays live until it is retired.

    The new one is not shown; `tradewind subscribe` makes ServiceTrade use it. The very first secret of an account has
    no file to be added to, and the configuration cannot be read without one: `tradewind secret new --print > FILE`.
    """
    if print_only == (account is not None):
        raise SettingsError("tradewind secret new ACCOUNT adds a secret, tradewind secret new --print shows one")
    if account is None:
        _say(new_secret())
        return OK
    accounts = read_settings(config).accounts
    file = _file_of(accounts, account)
    old, fingerprint = add_secret(file)
    names = _sharing(accounts, file)
    _say(f"{', '.join(names)}: {fingerprint} is live beside {old}, in {file}")
    _say("ingest takes it within seconds: wait until it logs ingest.secrets_changed. Then")
    for name in names:
        _say(f"  tradewind subscribe {name}")
    _say("and once webhooks come by the new URL")
    _say(f"  tradewind secret retire {account} {old}")
    return OK


@secret_app.command(name="list")
def list_secrets(*accounts: str, config: Config = DEFAULT_CONFIG) -> int:
    """Show the live secrets of ACCOUNTS (default: all) by their fingerprints, the first digits of their SHA-256."""
    known = read_settings(config).accounts
    rows = [("account", "fingerprint", "age", "file")]
    for name in accounts or known:
        account = _of(known, name)
        live = account.live_secrets
        place = str(account.hook_secret.file or "from the environment")
        rows += [(name, fingerprint_of(one), age, place) for one, age in zip(live, ages(live), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return OK


@secret_app.command
def retire(account: str, fingerprint: str, /, *, config: Config = DEFAULT_CONFIG) -> int:
    """Remove the secret with this FINGERPRINT from the file of ACCOUNT: its URL is answered 404 within seconds.

    ServiceTrade takes a 404 for delivered: what it still sends there is lost.
    """
    accounts = read_settings(config).accounts
    file = _file_of(accounts, account)
    stays = retire_secret(file, fingerprint)
    _say(f"{', '.join(_sharing(accounts, file))}: {fingerprint.lower()} is retired, {stays} stays, in {file}")
    return OK


def _of(accounts: Accounts, name: str) -> AccountSettings:
    if name not in accounts:
        raise SettingsError(f"no such account is configured; there are: {', '.join(accounts)}")
    return accounts[name]


def _file_of(accounts: Accounts, name: str) -> Path:
    file = _of(accounts, name).hook_secret.file
    if file is None:
        raise SettingsError(
            f"{name}: hook_secret comes from an environment variable, which only you can change: name a file instead, "
            "or put a second secret beside the first, separated by white space, and restart"
        )
    return file


def _sharing(accounts: Accounts, file: Path) -> list[str]:
    """The accounts whose secrets are in this file: a change of it is one for all of them."""
    files = {name: account.hook_secret.file for name, account in accounts.items()}
    return [name for name, other in files.items() if other is not None and other.resolve() == file.resolve()]


def _say(line: str) -> None:
    OUT.print(line, highlight=False, markup=False, soft_wrap=True)
