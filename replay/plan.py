"""Pure: what a replay was asked for, and the note beside its positions from which any machine can go on with it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Literal

from schemas.encoding import decode, encode
from schemas.errors import SettingsError
from schemas.pipeline import PipelineTimes
from schemas.topics import CHANGES, REDRIVE_TO_ALL, REDRIVE_TO_HEADER, REDRIVES_HEADER, REPLAY_HEADER, TOPICS

Into = Literal["live", "shadow"]
THEN, NOW = "then", "now"
SHADOW = f"{CHANGES.name}.shadow"
GROUP_PREFIX = "tradewind-replay-"
REPLAY_ID = re.compile(r"[a-z0-9]{1,32}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One replay into a topic, with its times resolved."""

    id: str
    from_ms: int
    to_ms: int
    """Windows that were opened by the first record with at least `from_ms`, up to the first with at least `to_ms`."""
    accounts: tuple[str, ...] = ()
    """Empty: all."""
    types: tuple[str, ...] = ()
    """Empty: all."""
    rules: str = THEN
    """`then`, `now`, or the path of a file."""
    rules_version: str = ""
    """Of the rules that hold instead of those of then: a hash of every account's version."""
    history: int = 0
    """How many records of tradewind.rules there were: what "now" means does not change while a replay is stopped."""
    into: Into
    topic: str
    """Full name."""
    redeliver: str = ""
    """The sink that is to deliver again what it has delivered; `*`: all; empty: none."""
    times: PipelineTimes
    log_epoch: int
    """These two of the settings of the whole pipeline, as it began: ids and windows depend on them."""

    @property
    def group(self) -> str:
        """The consumer group whose committed offsets are the replay's positions."""
        return GROUP_PREFIX + self.id

    def headers(self) -> list[tuple[str, bytes]]:
        """What the records get besides the headers that the live run gave them."""
        headers: list[tuple[str, bytes]] = []
        if self.rules != THEN:
            headers.append((REPLAY_HEADER, self.id.encode()))
        if self.redeliver:
            headers += [(REDRIVE_TO_HEADER, self.redeliver.encode()), (REDRIVES_HEADER, b"1")]
        return headers


@dataclass(frozen=True, slots=True)
class Note:
    """What stands beside a position of a replay."""

    plan: Plan
    is_over: bool
    """Nothing more comes from this partition."""


def write_note(note: Note) -> str:
    """As text."""
    return encode(asdict(note)).decode()


def read_note(text: str) -> Note:
    """From text.

    Raises:
        ValueError: it is no such note.
    """
    data = decode(text.encode())
    try:
        plan = data["plan"]
        lists = {name: tuple(plan[name]) for name in ("accounts", "types")}
        times = PipelineTimes(**plan["times"])
        return Note(Plan(**{**plan, **lists, "times": times}), bool(data["is_over"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the note of a replay: {error}") from error


def require_its_settings(plan: Plan, times: PipelineTimes, log_epoch: int) -> None:
    """Refuse to go on with a replay under other settings than those under which it began.

    Raises:
        SettingsError: names what differs.
    """
    began = {"kafka.log_epoch": plan.log_epoch, **_named(plan.times)}
    here = {"kafka.log_epoch": log_epoch, **_named(times)}
    differing = [f"{name} = {began[name]:g} (here: {here[name]:g})" for name in began if began[name] != here[name]]
    if differing:
        raise SettingsError(
            f"the replay {plan.id} began with {', '.join(differing)}: "
            "go on with it under the settings with which it began, which have to be the processors'"
        )


def _named(times: PipelineTimes) -> dict[str, float]:
    return {f"pipeline.{name}": value for name, value in asdict(times).items()}


def redeliver_to(sink: str, sinks: tuple[str, ...]) -> str:
    """What the header says for a sink as people name it: `all`, or the name of one.

    Raises:
        ValueError: no such sink reads changes.
    """
    if sink == "all":
        return REDRIVE_TO_ALL.decode()
    if sink not in sinks:
        raise ValueError(f"no sink {sink!r} takes changes; there are all, {', '.join(sinks)}")
    return sink


def shadow_topic(name: str, prefix: str) -> str:
    """The full name of a topic to replay into.

    Raises:
        ValueError: it is no name, or one of the pipeline's own.
    """
    own = {topic.name for topic in TOPICS}
    if name in own or name in {prefix + one for one in own}:
        raise ValueError(f"{name} is a topic of the pipeline: name another one, or say --into live for the changes")
    if not _TOPIC.fullmatch(prefix + name) or name in (".", ".."):
        raise ValueError(f"{name!r} is no name of a topic: letters, digits, '.', '_' and '-', at most 249")
    return prefix + name
