"""Stops a sink that does harm: counts dead letters that nobody has dealt with, and halts where a person has to look."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Mapping

from runtime import metrics
from runtime.logs import log_event
from schemas.errors import StoreError
from schemas.record import LogRecord
from sinks.limits import Limits
from sinks.open_letters import OpenLetters
from sinks.parking_store import Halts
from sinks.reports import store_failed

_log = logging.getLogger(__name__)

POLL_S = 2.0
COUNT_EVERY = 5
"""Of these polls, one in so many also counts what nobody has dealt with."""


class Brake:
    """One worker's view of what all workers of its sink share in the store.

    Args:
        sink: the sink's name.
        halts: who waits for a person.
        letters: dead letters that nobody has dealt with.
        limits: how many of them are too many.
        changed: told when the sink halts or may go on.
    """

    def __init__(
        self, sink: str, halts: Halts, letters: OpenLetters, limits: Limits, changed: Callable[[], None]
    ) -> None:
        self._sink = sink
        self._halts = halts
        self._letters = letters
        self._limits = limits
        self._changed = changed
        self._own_halts = 0  # odd while one is being written down
        self._asked = False
        self._open = metrics.ByAccount(metrics.OPEN_DEAD_LETTERS, sink)
        self.halted: str | None = None
        """Why nothing is delivered until a person has looked at it."""

    @property
    def released(self) -> bool:
        """Whether the sink may deliver: not before the store has said once that it is not halted."""
        return self._asked and self.halted is None

    async def count_letter(self, account: str, record: LogRecord) -> bool:
        """A dead letter is about to be written; once more for the same record counts as one.

        Returns:
            Whether it was written before, by a worker that died before it could commit.
        """
        while True:
            try:
                return await self._letters.add(self._sink, account, record)
            except StoreError as error:
                store_failed(self._sink, error)
                await asyncio.sleep(POLL_S)

    async def letter_written(self, record: LogRecord) -> None:
        """The dead letter is in Kafka."""
        try:
            await self._letters.written(self._sink, record)
        except StoreError as error:  # after a crash there will be a second one
            store_failed(self._sink, error)

    async def below_cap(self, account: str) -> bool:
        """Whether the account may have another dead letter."""
        return (await self._counts()).get(account, 0) < self._limits.dead_letter_cap

    async def after_letter(self, account: str, *, can_be_parked: bool) -> bool:
        """After a dead letter: whether its account is at the cap and has to be put aside.

        The sink halts if most accounts are at the cap, or if this one is and putting it aside would help nothing.
        """
        try:
            counts = await self._counts()
        except StoreError as error:  # the next letter asks again
            store_failed(self._sink, error)
            return False
        full = {name for name, count in counts.items() if count >= self._limits.dead_letter_cap}
        if account not in full:
            return False
        known = set(self._limits.accounts)
        if not can_be_parked or 2 * len(full & known) > len(known) > 0:
            look = f"`tradewind deadletters list --sink {self._sink}`"
            await self.halt(f"{self._limits.dead_letter_cap} dead letters of account {account!r} and others: {look}")
        return can_be_parked

    async def halt(self, reason: str) -> None:
        """Stop the sink, in all processes."""
        self._own_halts += 1
        self._note(reason)
        while True:
            try:
                await self._halts.halt(self._sink, reason)
                break
            except StoreError as error:
                store_failed(self._sink, error)
                await asyncio.sleep(POLL_S)
        self._own_halts += 1

    async def watch(self) -> None:
        """Follow what others, people and processes, do in the store, until cancelled."""
        for poll in itertools.count():
            halts = self._own_halts
            try:
                reason = await self._halts.of(self._sink)
                # An answer from before a halt of our own says nothing about it.
                if halts == self._own_halts and halts % 2 == 0:
                    if not self._asked:
                        self._asked = True
                        self._changed()
                    self._note(reason)
                if poll % COUNT_EVERY == 0:
                    await self._counts()
            except StoreError as error:
                store_failed(self._sink, error)
            await asyncio.sleep(POLL_S)

    async def _counts(self) -> Mapping[str, int]:
        newer_than_ms = round((time.time() - self._limits.letters_kept_s) * 1000)
        counts = await self._letters.counts(self._sink, newer_than_ms=newer_than_ms)
        self._open.show(counts)
        return counts

    def _note(self, reason: str | None) -> None:
        metrics.HALTED.labels(self._sink).set(reason is not None)
        if (reason is None) == (self.halted is None):
            return
        self.halted = reason
        if reason is None:
            log_event(_log, "sink.resumed", sink=self._sink)
        else:
            log_event(_log, "sink.halted", level=logging.ERROR, sink=self._sink, reason=reason)
        self._changed()
