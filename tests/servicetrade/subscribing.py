"""What the tests of subscriptions share: a configuration with a public URL, and what ServiceTrade has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.hook_secrets import fingerprint_of
from runtime.settings import LoginSettings, StoreSettings
from tests.servicetrade.site import HOOK_SECRET, SECRETS, Site
from tests.simulator.support import Simulator

PUBLIC = "https://hooks.example.com/st"
NEWER = "newer-91c2-0123456789"
RETIRED = "gone-55aa-0123456789"
FOREIGN = "https://other.example.com/their-own-secret"
MASKED = f"{PUBLIC}/webhooks/acme/sha256:{fingerprint_of(HOOK_SECRET)}"
JOBS = [{"entityType": 3, "actions": ["created", "updated", "deleted"]}]

ECHOES = (
    f"hookUrl {PUBLIC}/webhooks/acme/{HOOK_SECRET} is not reachable",
    f"/webhooks/acme/{RETIRED}: not reachable",
    f"taken ({HOOK_SECRET})",
)
"""What an answer may say, with secrets in it."""


def public_site(simulator: Simulator, store: StoreSettings, folder: Path) -> Site:
    """A site with a public URL."""
    found = Site(folder, simulator, store, login=LoginSettings(answer_timeout_s=5, interval_s=0))
    write(found, f'[ingest]\npublic_url = "{PUBLIC}/"')
    return found


def url_with(secret: str, account: str = "acme") -> str:
    return f"{PUBLIC}/webhooks/{account}/{secret}"


def write(site: Site, more: str) -> None:
    site.config.write_text(site.config.read_text() + more + "\n")


def expect_no_secret(text: str) -> None:
    secrets = (HOOK_SECRET, NEWER, RETIRED, "their-own-secret", *SECRETS.values())
    assert not [secret for secret in secrets if secret in text]


async def hooks(simulator: Simulator, account: str = "acme") -> dict[str, dict[str, Any]]:
    """What ServiceTrade has, by hookUrl; fails the test if one is there twice."""
    answer = await simulator.http.get("/api/webhook", headers=await simulator.login(account))
    found = answer.json()["data"]["webhooks"]
    # `confirmed` turns true by itself.
    by_url = {one["hookUrl"]: {**one, "confirmed": None} for one in found}
    assert len(by_url) == len(found)
    return by_url
