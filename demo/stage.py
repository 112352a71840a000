"""What an office day passes in front of: a pipeline that is up, and the simulated ServiceTrade that sends to it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.settings import Settings

MIRROR = "mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAccount:
    """A customer of the simulated ServiceTrade."""

    name: str
    username: str
    password: str
    user_id: int
    hook_secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything that the ledger asks is."""

    settings: Settings
    accounts: tuple[DemoAccount, ...]
    simulator_url: str
    ingest_url: str
    """How the simulated ServiceTrade reaches ingest."""
    sinks: tuple[str, ...] = (MIRROR,)
    """Sinks at which every change has to have an outcome."""

    def hook_url(self, account: DemoAccount) -> str:
        """The webhook URL that the account's subscription points at."""
        return f"{self.ingest_url}/webhooks/{account.name}/{account.hook_secret}"
