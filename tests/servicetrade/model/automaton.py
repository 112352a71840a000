"""Learns the real SharedLogin as an automaton: local states, and where a reply leads from each.

A coroutine's next operation depends on nothing but the replies that it was given. So what a reply does in a local state
has to be found out once only, by running the real code from its start with the shortest known history of replies that
leads there. `frames` tells when two histories have led to the same local state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

from runtime.settings import LoginSettings
from schemas.errors import LoginRefused, LoginUnavailable, StoreError
from servicetrade.login import SharedLogin
from tests.servicetrade.model.frames import LATE_S, abandon, frozen, remembered
from tests.servicetrade.model.handed import (
    ACCOUNT,
    ERRORS,
    ME,
    HandedCalls,
    HandedStore,
    Operation,
    Reply,
    program,
    wait,
)

CREDENTIALS = "new"
"""The fingerprint of the credentials that a worker has unless something else is said."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells workers apart from the start."""

    resource: str
    fingerprint: str = CREDENTIALS


@dataclass(frozen=True, slots=True)
class Local:
    """A worker between two replies: what it asks for, or how it ended."""

    asks: Operation | None
    ended: str = ""


class Run:
    """One real coroutine, driven by hand.

    Args:
        login: SharedLogin, or a broken one.
        kind: of the worker.
    """

    def __init__(self, login: type[SharedLogin], kind: Kind) -> None:
        self._clock_s = 0.0
        shared = login(
            ACCOUNT,
            ME,
            HandedStore(),
            HandedCalls(),
            fingerprints=(kind.fingerprint,),
            settings=LoginSettings(),
            now=lambda: self._clock_s,
            sleep=wait,
        )
        self._coroutine: Coroutine[Operation, Any, str] = program(shared, kind.resource)
        self.local = Local(None)
        self.resume(Reply())

    def resume(self, reply: Reply, *, late: bool = False) -> None:
        """Go on to the next operation or to the end; `late`: by the worker's clock every lease has run out."""
        self._clock_s = LATE_S if late else 0.0
        try:
            if reply.error:
                self.local = Local(self._coroutine.throw(ERRORS[reply.error]()))
            else:
                self.local = Local(self._coroutine.send(reply.value))
        except StopIteration as done:
            self.local = Local(None, done.value)
        except (LoginUnavailable, LoginRefused, StoreError, asyncio.CancelledError) as error:
            self.local = Local(None, type(error).__name__)

    def identity(self) -> Hashable:
        """Equal for two runs that cannot be told apart by what they will do."""
        return self.local.ended or (frozen(self.local.asks), remembered(self._coroutine))

    def abandon(self) -> None:
        """Leave the coroutine where it is, for good."""
        if self.local.asks is not None:
            abandon(self._coroutine)


class Automaton:
    """All that workers can do, found out as it is asked for. Local states are numbers; `locals` tells what they are.

    Args:
        login: SharedLogin, or a broken one.
    """

    def __init__(self, login: type[SharedLogin] = SharedLogin) -> None:
        self.login = login
        self.locals: list[Local] = []
        self._numbers: dict[Hashable, int] = {}
        self._histories: list[tuple[Kind, tuple[tuple[Reply, bool], ...]]] = []
        self._steps: dict[tuple[int, Reply, bool], int] = {}

    def start(self, kind: Kind) -> int:
        """Where such a worker begins."""
        return self._learn(kind, ())

    def step(self, local: int, reply: Reply, *, late: bool) -> int:
        """Where a reply leads."""
        key = (local, reply, late)
        if (found := self._steps.get(key)) is None:
            kind, replies = self._histories[local]
            found = self._steps[key] = self._learn(kind, (*replies, (reply, late)))
        return found

    def _learn(self, kind: Kind, replies: tuple[tuple[Reply, bool], ...]) -> int:
        run = Run(self.login, kind)
        for reply, late in replies:
            run.resume(reply, late=late)
        number = self._numbers.setdefault(run.identity(), len(self.locals))
        if number == len(self.locals):
            self.locals.append(run.local)
            self._histories.append((kind, replies))
        run.abandon()
        return number
