"""What ingest tells about requests: counters per account, how long an account has been silent, and the access log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from functools import partial

from ingest.hooks import Hooks
from ingest.webhook import Webhook
from runtime import metrics
from runtime.logs import log_event

UNKNOWN_INTERVAL_S = 10.0
"""Requests on an account's, or nobody's, wrong URLs are logged once in so long: whoever guesses, guesses often."""

_log = logging.getLogger(__name__)


class Witness:
    """Counts and logs; never a secret, only its fingerprint.

    Args:
        hooks: tell the accounts and fingerprints of paths.
        accounts: whose silence is measured from the start on.
        access_log: log every request on a valid URL.
    """

    def __init__(self, hooks: Hooks, accounts: Iterable[str], *, access_log: bool) -> None:
        self._hooks = hooks
        self._access_log = access_log
        self._last_at: dict[str, float] = {}
        self._unknown: dict[str | None, int] = {}
        """By account, as many as were not logged yet."""
        self._unknown_logged_at: dict[str | None, float] = {}
        metrics.UNKNOWN_URL.labels("")
        for account in accounts:
            self._heard(account)

    def durable(self, webhook: Webhook) -> None:
        """A webhook was stored or spooled."""
        now = self._heard(webhook.account)
        metrics.WEBHOOKS_RECEIVED.add(webhook.account, webhook.outcome or "")
        metrics.ACK_SECONDS.observe(now - webhook.came)

    def refused(self, account: str) -> None:
        """A webhook was answered 503."""
        self._heard(account)
        metrics.WEBHOOKS_RECEIVED.add(account, "unavailable")

    def too_large(self, account: str, limit_bytes: int) -> None:
        """A webhook was answered 413, and is lost."""
        self._heard(account)
        metrics.WEBHOOKS_RECEIVED.add(account, "too_large")
        metrics.WEBHOOKS_LIMITED.labels(account, "body").inc()
        log_event(_log, "ingest.limited", level=logging.ERROR, account=account, limit="body", limit_bytes=limit_bytes)

    def answered(self, path: str, status: int, body_bytes: int) -> None:
        """A request on a valid URL was answered."""
        if self._access_log and (hook := self._hooks.suspect_of(path)):
            account, fingerprint = hook
            log_event(
                _log,
                "ingest.request",
                account=account,
                secret=fingerprint,
                status=status,
                body_bytes=body_bytes,
            )

    def unknown_url(self, path: str) -> None:
        """A request was answered 404."""
        account, fingerprint = self._hooks.suspect_of(path) or (None, None)
        metrics.UNKNOWN_URL.labels(account or "").inc()
        requests = self._unknown[account] = self._unknown.get(account, 0) + 1
        now = time.monotonic()
        if now - self._unknown_logged_at.get(account, -math.inf) >= UNKNOWN_INTERVAL_S:
            log_event(
                _log,
                "ingest.unknown_url",
                level=logging.WARNING,
                account=account,
                secret=fingerprint,
                requests=requests,
            )
            self._unknown[account], self._unknown_logged_at[account] = 0, now

    def _heard(self, account: str) -> float:
        now = time.monotonic()
        if account not in self._last_at:
            metrics.SILENCE_SECONDS.labels(account).set_function(partial(self._silence_s, account))
            for outcome in metrics.RECEIVED:
                metrics.WEBHOOKS_RECEIVED.begin(account, outcome)
            metrics.begin(metrics.WEBHOOKS_LIMITED, account, values=metrics.LIMITS)
            metrics.UNKNOWN_URL.labels(account)
        self._last_at[account] = now
        return now

    def _silence_s(self, account: str) -> float:
        return time.monotonic() - self._last_at[account]
