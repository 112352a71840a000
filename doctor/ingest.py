"""The checks of ingest: does it run here, and how ServiceTrade is to reach it; nothing is sent to its public URL."""

from __future__ import annotations

from doctor.finding import INGEST, Finding
from runtime.probe import is_ready
from runtime.settings import Settings
from schemas.errors import SettingsError
from servicetrade.subscriptions import owner_of

_LOOPBACK = "127.0.0.1"


async def check_ingest(settings: Settings) -> list[Finding]:
    """Whether it is ready, and what is to be tried by hand."""
    return [await _running(settings.ingest.ops_port), _public(settings)]


async def _running(port: int) -> Finding:
    url = f"http://{_LOOPBACK}:{port}/readyz"
    if await is_ready(url):
        return INGEST.ok("process", f"ready, by {url}")
    what = f"does not say at {url} that it is ready"
    return INGEST.warning("process", what, "start `tradewind ingest`; if it runs elsewhere, ask there")


def _public(settings: Settings) -> Finding:
    url = settings.ingest.public_url
    if url is None:
        what = "is not set: nobody can tell which webhooks on ServiceTrade are ours"
        return INGEST.warning("ingest.public_url", what, "say how ServiceTrade reaches ingest: https://host")
    try:
        base = owner_of(settings, next(iter(settings.accounts))).base.text
    except SettingsError as error:
        return INGEST.failed("ingest.public_url", str(error), "put ingest.public_url right")
    # A GET would be counted, and logged, as one of somebody who guesses; and a proxy can answer 404 by itself.
    why = f"ServiceTrade posts to {base}/webhooks/ACCOUNT/SECRET; nothing is sent there from here"
    do = f"`curl -i {base}/webhooks/` from outside: 404 with an empty body is ingest's, behind TLS and proxy"
    return INGEST.not_checked("ingest.public_url", why, do)
