"""What `tradewind replay` was asked for, checked and resolved before anything is read."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from cli.options import read_past
from cli.routes import routes_of
from replay.plan import SHADOW, THEN, redeliver_to, shadow_topic
from runtime.settings import Settings
from schemas.errors import SettingsError
from schemas.moments import NOW, WRITTEN
from schemas.suggestion import did_you_mean
from schemas.topics import ACCOUNT_NAME, CHANGES
from servicetrade.hook_events import all_types

Where = Literal["live", "shadow", "diff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says; None and empty: nothing."""

    accounts: tuple[str, ...] = ()
    since: str | None = None
    to: str | None = None
    types: str | None = None
    rules: str | None = None
    into: Where | None = None
    topic: str | None = None
    redeliver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A replay, as far as it can be known without the log."""

    accounts: tuple[str, ...]
    types: tuple[str, ...]
    from_ms: int
    to_ms: int
    rules: str
    into: Where
    topic: str
    """Full name; of a diff that of the changes."""
    redeliver: str


def new_id() -> str:
    """The id of a replay: it is not said again by chance."""
    return secrets.token_hex(4)


def read_asked(settings: Settings, asked: Asked, now_ms: int) -> Wanted:
    """What is wanted.

    Raises:
        SettingsError: something is missing, spelled wrong, or does not go together.
    """
    if asked.since is None:
        raise SettingsError(f"--from: say from when: {WRITTEN}")
    if asked.into is None:
        raise SettingsError("--into: say where the changes go: live, shadow, or diff to see what would change")
    from_ms, to_ms = read_past("--from", asked.since, now_ms), read_past("--to", asked.to or NOW, now_ms)
    if from_ms >= to_ms:
        raise SettingsError(f"--from {asked.since} is not before --to {asked.to or NOW}: there is nothing between")
    rules = asked.rules or THEN
    if asked.into == "diff" and rules == THEN:
        raise SettingsError("--into diff compares the rules of then with others: say --rules now, or --rules FILE")
    for account in asked.accounts:
        if not ACCOUNT_NAME.fullmatch(account):
            raise SettingsError(f"--account: {account!r} is no name of an account")
    return Wanted(
        accounts=tuple(dict.fromkeys(asked.accounts)),
        types=_types(settings, asked.types),
        from_ms=from_ms,
        to_ms=to_ms,
        rules=rules,
        into=asked.into,
        topic=_topic(settings, asked),
        redeliver=_redeliver(settings, asked),
    )


def _types(settings: Settings, said: str | None) -> tuple[str, ...]:
    if said is None:
        return ()
    names = tuple(dict.fromkeys(name.strip().lower() for name in said.split(",") if name.strip()))
    if not names:
        raise SettingsError("--types: names at least one type: job,quote")
    known = all_types(settings.servicetrade.types)
    for name in names:
        if name not in known:
            raise SettingsError(
                f"--types: no entity type {name!r} is known; {did_you_mean(name, known, 'known')} "
                f"(one that ServiceTrade has come to know is added by [servicetrade.types.NAME] in the configuration)"
            )
    return names


def _topic(settings: Settings, asked: Asked) -> str:
    prefix = settings.kafka.topic_prefix
    if asked.into != "shadow":
        if asked.topic is not None:
            raise SettingsError("--topic goes with --into shadow")
        return prefix + CHANGES.name
    try:
        return shadow_topic(SHADOW if asked.topic is None else asked.topic, prefix)
    except ValueError as error:
        raise SettingsError(f"--topic: {error}") from None


def _redeliver(settings: Settings, asked: Asked) -> str:
    if asked.redeliver is None:
        return ""
    if asked.into != "live":
        raise SettingsError("--redeliver goes with --into live: the sinks read no other topic")
    try:
        return redeliver_to(asked.redeliver, sinks_of(settings))
    except ValueError as error:
        raise SettingsError(f"--redeliver: {error}") from None


def sinks_of(settings: Settings) -> tuple[str, ...]:
    """The sinks of this configuration that read changes."""
    changes = settings.kafka.topic_prefix + CHANGES.name
    return tuple(name for name, topic in routes_of(settings).topics.items() if topic == changes)


def only_resume(asked: Asked) -> None:
    """Refuse what a replay that is gone on with knows by itself.

    Raises:
        SettingsError: names the first option that is too many.
    """
    said = {
        "--account": asked.accounts,
        "--from": asked.since,
        "--to": asked.to,
        "--types": asked.types,
        "--into": asked.into,
        "--topic": asked.topic,
        "--redeliver": asked.redeliver,
    }
    if too_many := [name for name, value in said.items() if value]:
        raise SettingsError(f"{too_many[0]}: a replay goes on as it began; say no more than --resume ID")


def file_accounts(settings: Settings, accounts: Collection[str]) -> tuple[str, ...]:
    """Whose rules are read from a file: the configured accounts', and those of the ones that are named."""
    return tuple(dict.fromkeys((*settings.accounts, *accounts)))
