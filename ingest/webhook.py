"""A webhook on its way to where it is durable."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import Literal

from schemas.errors import SpoolError

Outcome = Literal["stored", "spooled"]
"""Where a webhook is durable: in Kafka, or in the spool."""


class Receipts:
    """Names for webhooks, of this process alone; cheaper than a random one for each."""

    def __init__(self) -> None:
        self._process = os.urandom(10).hex()
        self._count = count()

    def next(self) -> bytes:
        """One that nobody has had yet."""
        return f"{self._process}{next(self._count):012x}".encode()


class Webhook:
    """A webhook whose sender waits for an answer.

    Args:
        account: whose it is.
        body: as it came.
        came: when it was whole, by the event loop's clock.
        settled: called once, when it is known where the webhook is, or that it is nowhere.
    """

    __slots__ = ("account", "body", "came", "outcome", "receipt", "refused", "settled")

    def __init__(self, account: str, body: bytes, came: float, settled: Callable[[Webhook], None]) -> None:
        self.account = account
        self.body = body
        self.came = came
        self.settled = settled
        self.receipt = b""
        self.outcome: Outcome | None = None
        """Where it is durable."""
        self.refused: SpoolError | None = None
        """Why it is not."""

    @property
    def is_settled(self) -> bool:
        """Whether its sender has been answered."""
        return self.outcome is not None or self.refused is not None

    def settle(self, outcome: Outcome | SpoolError) -> None:
        """Answer its sender, if that has not been done."""
        if self.outcome is None and self.refused is None:
            if isinstance(outcome, SpoolError):
                self.refused = outcome
            else:
                self.outcome = outcome
            self.settled(self)
