"""A model for the life of a command: a store of one row, a ServiceTrade, and a worker; everything may fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.command import Check, Command, CommandResult, Method
from schemas.errors import RetryLater
from sinks.command_answers import Answer, Done, Failure, NothingHappened, Refused, Unknown
from sinks.command_core import SETTLE_S, Known, Look, Looked, Save, Send, Turn, fingerprint_of, perform

LATER = RetryLater("later")
LONGEST_WAY_S = int(SETTLE_S) - 1
CHECK = Check(equals={"name": "wanted"})
FATES = ("well", "crash before", "crash after", "lost", "lost on the way", "slow", "5xx", "5xx done", "4xx", "429")
"""What may become of an effect; a store and a list know fewer."""
Fate = tuple[str, int]
"""With the seconds that a slow request takes."""


class CrashError(Exception):
    """The worker is gone, and what it knew."""


def a_command(method: Method, *, checked: bool = False, not_after: int | None = None) -> Command:
    return Command(
        id="c1",
        account="acme",
        method=method,
        entity_type="job",
        entity_id=None if method == "POST" else "7",
        body=None if method == "DELETE" else {"name": "wanted"},
        not_after=not_after,
        check=CHECK if checked else None,
    )


@dataclass
class World:
    """A store of one row, a ServiceTrade with one entity, and a worker that may die between any two steps."""

    command: Command
    fates: list[Fate] = field(default_factory=list)
    now: float = 1_000.0
    row: Known | None = None
    sent_at: float = 0.0
    there: bool = True
    """The entity that a DELETE is about."""
    effects: int = 0
    """Requests that had one."""
    requests: int = 0
    on_the_way: list[float] = field(default_factory=list)
    """When they arrive."""
    obstacle: str | None = None

    def fate(self) -> Fate:
        return self.fates.pop(0) if self.fates else ("well", 0)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for arrival in [one for one in self.on_the_way if one <= self.now]:
            self.on_the_way.remove(arrival)
            self.arrive()

    def arrive(self) -> bool:
        """The request is worked on; whether there was anything to do."""
        if self.command.method == "DELETE" and not self.there:
            return False
        self.there = self.command.method != "DELETE"
        self.effects += 1
        return True

    def deliver(self, offset: int = 0, *, again: bool = False) -> CommandResult:
        known = self.row or Known(fingerprint=fingerprint_of(self.command))
        turn = Turn(
            command=self.command,
            known=replace(known, age_s=self.now - self.sent_at),
            offset=offset,
            again=again,
            now_s=self.now,
            obstacle=self.obstacle,
        )
        life = perform(turn)
        answer: Known | Answer | Looked | None = None
        try:
            while True:
                effect = life.send(answer)
                word, seconds = self.fate()
                if word == "crash before":
                    raise CrashError
                match effect:
                    case Save():
                        answer = self.save(effect)
                    case Send():
                        answer = self.send(word, seconds)
                    case Look():
                        answer = self.look(word)
                if word == "crash after":
                    raise CrashError
        except StopIteration as end:
            result: CommandResult = end.value
            return result

    def save(self, effect: Save) -> Known:
        assert effect.after.token == ("" if self.row is None else self.row.token), "an older row was read"
        token = f"t{int(self.row.token[1:]) + 1 if self.row else 0}"
        if effect.step == "intended":
            self.sent_at = self.now
        self.row = replace(effect.after, token=token, age_s=0.0)
        return self.row

    def send(self, word: str, seconds: int) -> Answer:
        assert self.row is not None, "the intent comes first"
        assert self.row.state == "sent", "the intent comes first"
        assert self.command.not_after is None or self.now <= self.command.not_after
        self.requests += 1
        unknown = Unknown(None, ("no answer",), LATER)
        if word == "slow":
            self.on_the_way.append(self.now + seconds)
        kept: Mapping[str, Answer] = {
            "429": NothingHappened(LATER),
            "4xx": Refused(400, ("no",)),
            "5xx": Unknown(500, (), LATER),
            "lost on the way": unknown,
            "slow": unknown,
        }
        if word in kept:
            return kept[word]
        if not self.arrive():
            return Refused(404, ("Not found",))
        return unknown if word in ("lost", "5xx done") else Done({"id": 7})

    def look(self, word: str) -> Looked | Failure:
        match word:
            case "4xx":
                return Refused(400, ("no such parameter",))
            case "429":
                return NothingHappened(LATER)
            case "lost" | "lost on the way" | "slow" | "5xx" | "5xx done":
                return Unknown(None, (), LATER)
        entity: Mapping[str, Any] | None = {"id": 7} if self.effects else None
        self.now += 1
        return Looked(entity, self.now)

    def until_settled(self, offset: int = 0, *, again: bool = False) -> CommandResult:
        """Given again after crashes and pauses, as the worker does; it is settled at the latest when nothing fails."""
        for _ in range(100):
            try:
                return self.deliver(offset, again=again)
            except CrashError:
                self.wait(1)
            except RetryLater as error:
                self.wait(max(1.0, error.after_s or 0))
        raise AssertionError("never settled")
