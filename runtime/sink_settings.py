"""Settings of the sinks: what all have in common, and what each has of its own."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from runtime.setting_checks import positive, usable_url
from runtime.toml_reader import Secret
from schemas.change import Action, EntityChange
from schemas.topics import ACCOUNT_NAME

_NAME = ACCOUNT_NAME
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_ENTITY_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_KEY_BYTES = range(24, 65)
"""Standard Webhooks 1.0, "Signature scheme"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """What every sink has."""

    group: str = ""
    """Consumer group: the sink's place on its topic is kept under this name. Empty: tradewind- and the sink's name."""
    concurrency: int = 64
    """Entities worked on at the same time, over all accounts."""
    account_concurrency: int = 8
    """The same of one account."""
    session_timeout_s: float = 15.0
    """How long Kafka keeps a silent worker's partitions for it before others take over."""
    park_after_s: float = 10.0
    """An account of which nothing could be delivered for so long is put aside, and tried again from there."""
    park_entity_after_s: float = 60.0
    """The same for one entity."""
    longest_pause_s: float = 60.0
    """Where the pauses after failures, each twice as long as the one before, stop growing."""
    dead_letter_cap: int = 100
    """Dead letters of one account that nobody has dealt with, from which on the account is put aside."""

    def __post_init__(self) -> None:
        positive(
            concurrency=self.concurrency,
            account_concurrency=self.account_concurrency,
            session_timeout_s=self.session_timeout_s,
            park_after_s=self.park_after_s,
            park_entity_after_s=self.park_entity_after_s,
            longest_pause_s=self.longest_pause_s,
            dead_letter_cap=self.dead_letter_cap,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSettings(SinkSettings):
    """The sink that keeps a SQL copy of every entity that changes."""

    ops_port: int = 9103


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings(SinkSettings):
    """The sink that performs what downstream systems ask for on servicetrade.commands."""

    ops_port: int = 9104
    session_timeout_s: float = 30.0
    """Longer than a request takes that is under way when partitions are handed over: it is answered and recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredSettings(SinkSettings):
    """What a sink has that need not get every change."""

    accounts: tuple[str, ...] = ()
    """Only changes of these; empty: of all."""
    types: tuple[str, ...] = ()
    """Only changes of entities of these types, for example job; empty: of all."""
    actions: tuple[Action, ...] = ()
    """Only these; empty: all."""

    def __post_init__(self) -> None:
        super(FilteredSettings, self).__post_init__()
        for name in self.types:
            if not _ENTITY_TYPE.fullmatch(name):
                raise ValueError(f"types: spelled as in changes, in lower case; found {name!r}")

    def wants(self, change: EntityChange) -> bool:
        """Whether the sink gets this change; all others are passed over without a word."""
        return (
            (not self.accounts or change.account in self.accounts)
            and (not self.types or change.entity_type in self.types)
            and (not self.actions or change.action in self.actions)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberSettings(FilteredSettings):
    """Somebody who gets changes as signed HTTP requests (Standard Webhooks 1.0); [sinks.forward.NAME]."""

    url: str
    """https://host/path; http:// only with allow_private."""
    secret: Secret
    """whsec_ and base64 of 24 to 64 bytes; during a rotation two, separated by white space: both sign."""
    timeout_s: float = 15.0
    """One request, from finding the host's addresses to the last byte of the answer's head."""
    allow_private: bool = False
    """Also deliver to private, loopback, link-local and other addresses that are not public."""
    ca_file: Path | None = None
    """Certificates (PEM) to trust besides the public ones, for a subscriber with a certificate of one's own."""

    def __post_init__(self) -> None:
        super(SubscriberSettings, self).__post_init__()
        positive(timeout_s=self.timeout_s)
        if not usable_url(self.url):
            raise ValueError("url must be https://host/path (or http:// for an address nearby)")
        parts = urlsplit(self.url)
        if parts.username is not None:
            raise ValueError("url must not hold a user name or password: requests are signed instead")
        if parts.scheme != "https" and not self.allow_private:
            raise ValueError("url must be https://: what is sent in the clear stays nearby, with allow_private = true")
        _ = self.keys

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What every request is signed with.

        Raises:
            ValueError: the secret holds none, or more than two, or one that is not as Standard Webhooks has it.
        """
        live = self.secret.reveal().split()
        if len(live) not in (1, 2):
            raise ValueError(f"secret holds one secret, or two during a rotation; found {len(live)}")
        return tuple(_webhook_key(one) for one in live)


def _webhook_key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    try:
        key = b64decode(encoded, validate=True)
    except ValueError:  # it tells of the secret's characters
        key = b""
    if encoded == secret or len(key) not in _KEY_BYTES:
        raise ValueError("secret must be whsec_ and base64 of 24 to 64 bytes")
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomSettings(FilteredSettings):
    """A sink of your own; [sinks.custom.NAME]."""

    deliver: str
    """Where your `async def deliver(change, context)` is: package.module:function."""
    timeout_s: float = 60.0
    """A call of your function that takes longer is cancelled, and made again later."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Texts for your function, in `context.options`."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """The same for what must not be written into this file, in `context.secrets`."""
    ops_port: int = 9106

    def __post_init__(self) -> None:
        super(CustomSettings, self).__post_init__()
        positive(timeout_s=self.timeout_s)
        if not _IMPORT_PATH.fullmatch(self.deliver):
            raise ValueError(f"deliver is package.module:function, found {self.deliver!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SinksSettings:
    """All sinks."""

    mirror: MirrorSettings = field(default_factory=MirrorSettings)
    command: CommandSettings = field(default_factory=CommandSettings)
    forward: Mapping[str, SubscriberSettings] = field(default_factory=dict)
    custom: Mapping[str, CustomSettings] = field(default_factory=dict)
    forward_ops_port: int = 9105
    """One process serves all subscribers."""

    def __post_init__(self) -> None:
        for name in (*self.forward, *self.custom):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name}: a name is made of a-z, 0-9, - and _, and starts with a letter or digit")
