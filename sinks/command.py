"""The command sink: performs the API calls that others ask for, none of them twice without anybody knowing.

What is decided when, and the table of a command's states, is in sinks/command_core.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from runtime import metrics
from runtime.logs import Event, log_event
from schemas.command import Command, CommandResult
from schemas.errors import RetryLater, ServiceTradeError, StoreError
from servicetrade.client import ServiceTradeClient
from sinks.arrival import Arrival
from sinks.command_answers import Answer, Done, Failure, NothingHappened, failure_of, matches
from sinks.command_core import (
    SETTLE_S,
    Attempt,
    Known,
    Look,
    Looked,
    Save,
    Send,
    Turn,
    fingerprint_of,
    perform,
)
from sinks.command_store import CommandStore
from sinks.sink import Fate
from sinks.steps import At, pass_by

STEPS = (
    "found",  # it is known what the store knows; nothing has happened
    "intended",  # the intent is on record, and nothing was sent
    "answered",  # ServiceTrade has answered, or not, and nobody knows
    "looked",  # the list was read
    "taken-back",  # the intent is not on record any more
    "recorded",  # the outcome is on record, and nobody was told
)

FINISH_S = 12.0
"""A request that is under way when its call is cancelled gets so long to be answered and recorded: as long as the
client waits for an answer (servicetrade.timeout_s is 10 s), and a little more. Cut off, nobody would know its fate."""
OVERTAKEN_S = 1.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


class CommandSink:
    """A sink (`sinks.sink.Sink`) of Commands. Each call settles one of them; the others wait, their result does not.

    Args:
        client: whose accounts are acted on.
        store: remembers every command; its table exists.
        now: Unix seconds; commands have a `not_after`.
        at: see `sinks.steps` and STEPS.
        settle_s: how long after an attempt it may still show up; before that it is not repeated.
    """

    name = "command"
    fate: Fate = "account"

    def __init__(
        self,
        client: ServiceTradeClient,
        store: CommandStore,
        *,
        now: Callable[[], float] = time.time,
        at: At = pass_by,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._client = client
        self._store = store
        self._now = now
        self._at = at
        self._settle_s = settle_s
        self._unrecorded: dict[tuple[str, str], tuple[str, Attempt]] = {}
        """By account and command id: the token of an intent, and what this process knows of its fate."""
        metrics.begin(metrics.DELIVERIES, self.name, values=[metrics.UNCERTAIN])

    async def deliver(self, arrivals: Sequence[Arrival[Command]]) -> Sequence[CommandResult]:
        """See `sinks.sink.Sink`.

        Raises:
            RetryLater: nothing has happened, or it has to be found out later what has.
            Reject: the account or its type is not known, or the command's id was used for something else.
        """
        return [await _to_its_end(self._perform(arrivals[0]))]

    async def _perform(self, arrival: Arrival[Command]) -> CommandResult:
        command = arrival.item
        key = (command.account, command.id)
        try:
            found = await self._store.find(*key)
        except StoreError as error:
            raise RetryLater(str(error), scope="sink") from error
        self._at("found")
        known = found or Known(fingerprint=fingerprint_of(command))
        token, remembered = self._unrecorded.pop(key, ("", None))
        turn = Turn(
            command=command,
            known=known,
            offset=arrival.record.offset,
            again=arrival.again,
            now_s=self._now(),
            obstacle=self._obstacle(command),
            remembered=remembered if token == known.token else None,
            settle_s=self._settle_s,
        )
        return await self._follow(turn, arrival)

    async def _follow(self, turn: Turn, arrival: Arrival[Command]) -> CommandResult:
        """Have the effects that the core wants, one after the other."""
        life, known, attempt = perform(turn), turn.known, turn.remembered
        answer: Known | Answer | Looked | None = None
        try:
            while True:
                match life.send(answer):
                    case Save() as save:
                        answer = known = await self._save(save, arrival, known, attempt)
                    case Send():
                        answer = await self._send(turn.command)
                        attempt = Attempt(turn.known, answer)
                        self._at("answered")
                    case Look():
                        answer = await self._look(turn.command)
                        self._at("looked")
        except StopIteration as end:
            result: CommandResult = end.value
            return result

    async def _save(self, save: Save, arrival: Arrival[Command], known: Known, attempt: Attempt | None) -> Known:
        command, after, token = arrival.item, save.after, uuid.uuid4().hex
        if save.step == "recorded" and after.result is not None:
            latency_ms = max(0, int(self._now() * 1000) - arrival.record.timestamp)
            after = replace(after, result=replace(after.result, latency_ms=latency_ms))
        intent = save.step == "intended"
        try:
            saved = await self._store.save(command, after, token, sent_now=intent)
        except StoreError as error:
            retry = RetryLater(str(error), scope="sink")
            if intent:  # it may be on record all the same
                attempt, known = Attempt(known, NothingHappened(retry)), replace(known, token=token)
            if attempt is not None:
                self._unrecorded[command.account, command.id] = known.token, attempt
            raise retry from error
        if saved is None:
            _warn("command.overtaken", command, step=save.step, state=after.state)
            raise RetryLater("another worker has the command in hand", after_s=OVERTAKEN_S)
        if saved.state == "uncertain" and save.step == "recorded":
            _warn("command.uncertain", command)
        self._at(save.step)
        return saved

    async def _send(self, command: Command) -> Answer:
        account, kind = self._client.account(command.account), command.entity_type
        entity: Mapping[str, Any] | None = None
        try:
            if command.method == "POST":
                entity = await account.create(kind, command.body or {})
            elif command.method == "PUT":
                entity = await account.update(kind, command.entity_id or "", command.body or {})
            else:
                await account.delete(kind, command.entity_id or "")
        except (ServiceTradeError, StoreError) as error:
            return failure_of(error)
        return Done(entity or None)

    async def _look(self, command: Command) -> Looked | Failure:
        check = command.check
        assert check is not None, "only what has a check is looked for"  # noqa: S101
        found: Mapping[str, Any] | None = None
        try:
            async for item in self._client.account(command.account).list(command.entity_type, check.params):
                if found is None and matches(item, check.equals):
                    found = item
        except (ServiceTradeError, StoreError) as error:
            return failure_of(error)
        return Looked(found, self._now())

    def _obstacle(self, command: Command) -> str | None:
        try:
            self._client.account(command.account)
        except KeyError:
            return f"account {command.account!r} is not configured"
        if self._client.catalogue.of(command.entity_type).path is None:
            return f"no path is known for entities of type {command.entity_type!r}"
        return None


def _warn(event: Event, command: Command, **fields: str) -> None:
    about = {"account": command.account, "command": command.id, "type": command.entity_type}
    log_event(_log, event, level=logging.WARNING, fault=None, **about, **fields)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; if the caller is cancelled, `work` goes on for FINISH_S, unless cancelled once more."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task}, timeout=FINISH_S)
        finally:
            if not task.done():
                task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # its caller is gone; whoever is given the command next finds what it has recorded
        raise
