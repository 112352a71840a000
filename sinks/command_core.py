"""Pure: the life of a command, so that none is ever performed twice without anybody knowing.

    state    what is next
    open     nothing was sent: past not_after -> expired; else the intent is recorded -> sent, and then it is sent
    sent     the answer decides; if there was none, because the worker ended, as with an unknown fate

    answer                         POST with a check   POST without   PUT, DELETE
    2xx                            done                done           done
    4xx                            failed              failed         failed; not at the first try: uncertain, but a
                                                                      DELETE that finds nothing (404) is done
    no session, no connection, 429 the intent is taken back, and the command given again later
    no answer, 5xx: unknown fate   look                uncertain      later, again; past not_after -> uncertain

    look: found -> done; not found, SETTLE_S after the last try -> as if open; not found sooner, or no list -> later;
    the list is refused (4xx) -> uncertain

    done, failed, expired, uncertain: the same result again, whoever asks. Redriven by a person: done stays, an
    uncertain POST with a check looks first, all others are performed anew

A redrive counts once: the row keeps the offset of the record that it was last acted on for. Each write replaces the
row that was read before it or fails, so of two workers that hold the same command one is told that it was overtaken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from schemas.command import Command, CommandOutcome, CommandResult
from schemas.encoding import encode_canonical
from schemas.errors import Reject, RetryLater
from sinks.command_answers import Answer, Done, Failure, NothingHappened, Refused, Unknown
from sinks.command_result import result_of

SETTLE_S = 30.0
"""A request that nobody answered may still be worked on: that it cannot be found means something only after this."""

State = Literal["open", "sent"] | CommandOutcome
Step = Literal["intended", "taken-back", "recorded"]
_FINAL = ("done", "failed", "expired", "uncertain")
_UNCLEAR = ("sent", "uncertain")
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store knows about a command."""

    fingerprint: str
    """Of what the command does: two commands with one id differ here."""
    state: State = "open"
    attempts: int = 0
    """Intents that were not taken back."""
    offset: int = -1
    """Of the record that it was last acted on for."""
    token: str = ""
    """Of the last write; empty: there is no row."""
    sent_ms: int | None = None
    """When the last intent was recorded, by the database's clock."""
    age_s: float = 0.0
    """Since then."""
    result: CommandResult | None = None
    """Of the last outcome; with the states `open` and `sent`, of one that a redrive is to replace."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What this process knows, and could not yet record."""

    before: Known
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Everything that is known as a command is given to the sink.

    Args:
        command: to perform.
        known: what the store knows about it.
        offset: of its record.
        again: a person has redriven it.
        now_s: Unix seconds.
        obstacle: why nothing can be sent for it, or None.
        remembered: of an attempt whose outcome the store did not take.
        settle_s: see SETTLE_S.
    """

    command: Command
    known: Known
    offset: int
    again: bool
    now_s: float
    obstacle: str | None = None
    remembered: Attempt | None = None
    settle_s: float = SETTLE_S

    def late(self, now_s: float) -> bool:
        """Whether nothing may be sent any more."""
        return self.command.not_after is not None and now_s > self.command.not_after


@dataclass(frozen=True, slots=True)
class Save:
    """Make `after` what the store knows, durably, before anything else; answered with it as it was written."""

    after: Known
    step: Step


@dataclass(frozen=True, slots=True)
class Send:
    """Perform the command on ServiceTrade; answered with an Answer."""


@dataclass(frozen=True, slots=True)
class Look:
    """Look for what the command was to create, by its check; answered with Looked or a Failure."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The whole list was read."""

    found: Mapping[str, Any] | None
    now_s: float


Effect: TypeAlias = Save | Send | Look
Life: TypeAlias = Generator[Effect, Any, CommandResult]


def fingerprint_of(command: Command) -> str:
    """64 hex digits that differ if two commands do something else."""
    what = [command.method, command.entity_type, command.entity_id, command.body]
    return hashlib.sha256(encode_canonical(what)).hexdigest()


def perform(turn: Turn) -> Life:
    """Yields the effects to have, one after the other, and is sent their answers; returns the result.

    Raises:
        RetryLater: not now.
        Reject: never.
    """
    command, known = turn.command, turn.known
    if known.fingerprint != fingerprint_of(command):
        raise Reject(f"command id {command.id!r} was used before, for something else")
    if known.result is not None and known.state in _FINAL:
        redriven = turn.again and turn.offset > known.offset
        if known.state == "done" or not redriven:
            return known.result
    if turn.remembered is not None:
        return (yield from _conclude(turn, turn.remembered.before, known, turn.remembered.answer))
    unclear = known.state in _UNCLEAR
    cleared = (yield from _clear_up(turn)) if unclear else Looked(None, turn.now_s)
    if not isinstance(cleared, Looked):
        return cleared
    if turn.obstacle is not None:
        raise Reject(turn.obstacle)
    if turn.late(cleared.now_s):
        return (yield from _close(turn, known, "expired", messages=("not_after has passed",), checked=unclear))
    intent = replace(known, state="sent", attempts=known.attempts + 1, offset=turn.offset)
    intended: Known = yield Save(intent, "intended")
    answer: Answer = yield Send()
    return (yield from _conclude(turn, known, intended, answer))


def _clear_up(turn: Turn) -> Generator[Effect, Any, CommandResult | Looked]:
    """The result, if the fate of the last attempt gives one; else that the command may be sent again."""
    command, known = turn.command, turn.known
    unclear: str | None = None
    if turn.obstacle is not None:
        unclear = turn.obstacle
    elif command.check is not None:
        looked = yield from _look(turn, known)
        if isinstance(looked, Looked) and known.age_s < turn.settle_s:
            raise _not_yet(known, turn.settle_s)
        return looked
    elif command.method == "POST" and known.state == "sent":
        unclear = "the worker ended before there was an answer"
    elif turn.late(turn.now_s):
        unclear = "there was no answer, and not_after has passed"
    if unclear is not None:
        return (yield from _close(turn, known, "uncertain", messages=(unclear,)))
    return Looked(None, turn.now_s)


def _conclude(turn: Turn, before: Known, intended: Known, answer: Answer) -> Life:
    """What the answer to a request makes of the command."""
    method = turn.command.method
    match answer:
        case Done(entity):
            return (yield from _close(turn, intended, "done", entity=entity))
        case Refused(status, messages):
            outcome: CommandOutcome = "failed"
            if method != "POST" and before.state in _UNCLEAR:  # an earlier try may have been performed
                outcome = "done" if method == "DELETE" and status == _NOT_FOUND else "uncertain"
            return (yield from _close(turn, intended, outcome, status=status, messages=messages))
        case NothingHappened(retry):
            yield Save(replace(before, token=intended.token), "taken-back")
            raise retry
        case Unknown(retry=retry) if method != "POST":
            raise retry
        case Unknown(status, messages) if turn.command.check is None:
            return (yield from _close(turn, intended, "uncertain", status=status, messages=messages))
    looked = yield from _look(turn, intended)
    if isinstance(looked, Looked):
        raise _not_yet(intended, turn.settle_s)
    return looked


def _look(turn: Turn, known: Known) -> Generator[Effect, Any, CommandResult | Looked]:
    """The result if looking gave one, else that nothing was found."""
    looked: Looked | Failure = yield Look()
    if isinstance(looked, NothingHappened | Unknown):
        raise looked.retry
    if isinstance(looked, Refused):
        said = ": ".join(("the check was refused", f"HTTP {looked.status}", *looked.messages))
        return (yield from _close(turn, known, "uncertain", messages=(said,)))
    if looked.found is None:
        return looked
    return (yield from _close(turn, known, "done", entity=looked.found, checked=True))


def _not_yet(known: Known, settle_s: float) -> RetryLater:
    left_s = max(0.0, settle_s - known.age_s)
    return RetryLater("the check does not find it, but it may still be under way", after_s=left_s)


def _close(turn: Turn, known: Known, outcome: CommandOutcome, **told: Any) -> Life:
    """Record the outcome; `told` is what `result_of` takes."""
    result = result_of(turn.command, outcome, attempts=known.attempts, **told)
    saved: Known = yield Save(replace(known, state=outcome, offset=turn.offset, result=result), "recorded")
    assert saved.result is not None, "it was saved with one"  # noqa: S101
    return saved.result
