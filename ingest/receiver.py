"""What becomes of a request: whose webhook it is, where it is made durable, and which status says so.

ServiceTrade waits 5 s, tries three times, takes every status from 200 to 499 for delivered and then forgets. So on a
valid URL there is no redirect, and no 4xx for a body that is bad in whatever way: 2xx once the webhook is durable, 503,
or 413 above the hard limit. JSON is not looked at here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ingest.hooks import Hooks
from ingest.lanes import Lanes
from ingest.webhook import Webhook
from ingest.witness import Witness
from runtime.logs import log_event

NO_CONTENT = 204
BAD_REQUEST = 400
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
TOO_LARGE = 413
HEAD_TOO_LARGE = 431
UNAVAILABLE = 503

Answer = Callable[[int], bool]
"""Gets the status, once; False if the request was answered by then."""

_log = logging.getLogger(__name__)


class Receiver:
    """Takes whole requests from the connections.

    Args:
        hooks: the valid URLs.
        lanes: where webhooks are made durable.
        witness: counts, and keeps the access log.
        body_limit_bytes: larger bodies are answered 413.
    """

    def __init__(self, hooks: Hooks, lanes: Lanes, witness: Witness, *, body_limit_bytes: int) -> None:
        self.body_limit_bytes = body_limit_bytes
        self.account_of = hooks.account_of
        self._lanes = lanes
        self._witness = witness

    def refusal(self, account: str | None, path: str, method: bytes) -> int | None:
        """The status that a request is refused with whatever its body; None if it is a webhook."""
        if account is None:
            self._witness.unknown_url(path)
            return NOT_FOUND
        return None if method == b"POST" else METHOD_NOT_ALLOWED

    def take(self, account: str, path: str, body: bytes, came: float, answer: Answer) -> None:
        """Make a webhook durable, then answer.

        Args:
            account: from `account_of`.
            path: only for the access log.
            body: as it came.
            came: when it was whole, by the event loop's clock.
            answer: is told the status; the connection may have given up by then.
        """
        self._lanes.store(Webhook(account, body, came, partial(self._settled, path, answer)))

    def too_large(self, account: str, path: str, size: int) -> int:
        """The status for a body above the limit: it is lost."""
        self._witness.too_large(account, self.body_limit_bytes)
        self._witness.answered(path, TOO_LARGE, size)
        return TOO_LARGE

    def too_late(self, account: str, path: str) -> int:
        """The status for a request that could not be answered in time."""
        log_event(_log, "ingest.refused", level=logging.WARNING, account=account, reason="answer_timeout_s is over")
        self._witness.refused(account)
        self._witness.answered(path, UNAVAILABLE, 0)
        return UNAVAILABLE

    def _settled(self, path: str, answer: Answer, webhook: Webhook) -> None:
        status = NO_CONTENT if webhook.refused is None else UNAVAILABLE
        if not answer(status):
            return
        if webhook.refused is None:
            self._witness.durable(webhook)
        else:
            log_event(
                _log, "ingest.refused", level=logging.WARNING, account=webhook.account, reason=str(webhook.refused)
            )
            self._witness.refused(webhook.account)
        self._witness.answered(path, status, len(webhook.body))
