"""What a custom sink's function gets beside the change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from runtime.toml_reader import Secret
from servicetrade.account import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One call of the function."""

    account: str
    """Name of the customer account in the configuration."""
    idempotency_key: str
    """The change's id: the same in every attempt and repeat."""
    attempt: int
    """Counts the calls with this change since the process got it from the topic, or from the table `parked`; from 1."""
    redriven: bool
    """A person has sent it here again, whatever was delivered before: tradewind deadletters redrive."""
    options: Mapping[str, str]
    """[sinks.custom.NAME.options]."""
    secrets: Mapping[str, Secret]
    """[sinks.custom.NAME.secrets]; `context.secrets["token"].reveal()` where it is used."""
    servicetrade: Account
    """Reads and writes the account's entities over the session that all workers share."""
    http: httpx.AsyncClient
    """For requests of one's own; connections are kept, cookies are not."""
    logger: logging.Logger
    """Its messages stand in the process's log as events."""
