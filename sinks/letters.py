"""Pure: the dead letters of a partition, what they are about, and which of them are open and wanted.

A letter is open until a resolution record in its partition names its offset.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from schemas.deadletter import DeadLetter, Resolution, is_resolution, read_dead_letter, read_resolution
from schemas.encoding import decode
from schemas.record import LogRecord
from schemas.topics import ACCOUNT_NAME

State = Literal["open", "redriven", "dropped"]
"""The last two are the RESOLUTIONS."""

_STATES: tuple[State, ...] = get_args(State)
_PLACE = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
_NEAR = 200
"""To read so many records in vain is quicker than to ask for others."""


@dataclass(frozen=True, slots=True, order=True)
class LetterId:
    """Where a letter stands on servicetrade.deadletters; written `PARTITION:OFFSET`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True, order=True)
class Original:
    """The record that a sink gave up: the key of a row."""

    sink: str
    topic: str
    partition: int
    position: int


def read_letter_id(text: str) -> LetterId:
    """The letter that is meant.

    Raises:
        ValueError: it is not written PARTITION:OFFSET.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(f"a dead letter is named PARTITION:OFFSET, as in 3:17; found {text!r}")
    return LetterId(int(found[1]), int(found[2]))


def account_of(record: LogRecord) -> str:
    """The account that the key names; empty if it names none."""
    name = (record.key or b"").decode(errors="replace").partition("/")[0]
    return name if ACCOUNT_NAME.fullmatch(name) else ""


def entities_of(letter: DeadLetter, record: LogRecord) -> Iterator[tuple[str, str]]:
    """(type, id) of every entity that the letter is about, as far as it can be told.

    A change's key says it, a command's and a webhook's value; of a webhook only the elements count that were bad.
    """
    parts = (record.key or b"").decode(errors="replace").split("/")
    if len(parts) == 3:  # noqa: PLR2004 - account/type/id
        yield parts[1], parts[2]
        return
    try:
        body = decode(record.value or b"")
    except ValueError:
        return
    if not isinstance(body, dict):
        return
    if isinstance(body.get("entity_type"), str):
        yield body["entity_type"], str(body.get("entity_id") or "")
    elements = body.get("data")
    if not isinstance(elements, list):
        return
    bad = set(letter.elements.split(",")) if letter.elements else None
    for index, element in enumerate(elements):
        entity = element.get("entity") if isinstance(element, dict) and (bad is None or str(index) in bad) else None
        if isinstance(entity, dict):
            yield str(entity.get("type", "")).lower(), str(entity.get("id", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters are meant; what is None does not matter."""

    stage: str | None = None
    """Also its parts: `forward` is every subscriber of it."""
    account: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    error: str | None = None
    since_ms: int | None = None
    """Last failure at this time or later, Unix milliseconds."""
    until_ms: int | None = None
    """Last failure before this time."""

    def __call__(self, letter: DeadLetter, record: LogRecord) -> bool:
        """Whether the letter is meant."""
        failed_ms = letter.last_failure_ms
        return (
            (self.stage is None or letter.stage == self.stage or letter.stage.startswith(f"{self.stage}/"))
            and (self.error is None or letter.error == self.error)
            and (self.since_ms is None or failed_ms >= self.since_ms)
            and (self.until_ms is None or failed_ms < self.until_ms)
            and (self.account is None or account_of(record) == self.account)
            and (self.entity_type is None or self._is_about(letter, record))
        )

    def _is_about(self, letter: DeadLetter, record: LogRecord) -> bool:
        return any(
            entity_type == self.entity_type and self.entity_id in (None, entity_id)
            for entity_type, entity_id in entities_of(letter, record)
        )


class Shelf:
    """What is known of one partition: the wanted letters, and what became of every letter; 21 bytes a record at most.

    Args:
        partition: its number.
        start: offset from which on it is read.
        wanted: which letters to remember.
        obstacle: why a wanted letter cannot be resolved as it is wanted to be, or None.
    """

    def __init__(
        self,
        partition: int,
        start: int,
        wanted: Callable[[DeadLetter, LogRecord], bool],
        obstacle: Callable[[DeadLetter, LogRecord], str | None] = lambda _letter, _record: None,
    ) -> None:
        self.partition = partition
        self.start = start
        self.foreign = 0
        """Records that are nothing of ours."""
        self._wanted = wanted
        self._obstacle = obstacle
        self._offsets = array("q")
        self._times = array("q")
        self._obstacles = array("I")
        self._sentences: list[str | None] = [None]
        self._states = bytearray()

    @property
    def end(self) -> int:
        """Offset after the last record that was put."""
        return self.start + len(self._states)

    def put(self, records: Iterable[LogRecord]) -> None:
        """Take the next records, in offset order."""
        for record in records:
            self._states.extend(bytes(record.offset + 1 - self.end))
            try:
                if is_resolution(record):
                    self._resolve(read_resolution(record))
                else:
                    self._put_letter(read_dead_letter(record.headers), record)
            except ValueError:
                self.foreign += 1

    def _put_letter(self, letter: DeadLetter, record: LogRecord) -> None:
        if not self._wanted(letter, record):
            return
        sentence = self._obstacle(letter, record)
        if sentence not in self._sentences:
            self._sentences.append(sentence)
        self._offsets.append(record.offset)
        self._times.append(record.timestamp)
        self._obstacles.append(self._sentences.index(sentence))

    def _resolve(self, resolution: Resolution) -> None:
        at = resolution.offset - self.start
        if 0 <= at < len(self._states) and not self._states[at]:
            self._states[at] = _STATES.index(resolution.what)

    def state(self, offset: int) -> State:
        """What became of the letter that was read at this offset."""
        return _STATES[self._states[offset - self.start]]

    def holds(self, offset: int) -> bool:
        """Whether a wanted letter stands there; takes long where there are many."""
        return offset in self._offsets

    def offsets(self, *, resolved: bool = False) -> array[int]:
        """The open letters among the wanted, in order; with `resolved`, all of them."""
        return array("q", (one for one in self._offsets if resolved or not self._states[one - self.start]))

    def dated(self, *, resolved: bool = False) -> Iterator[tuple[int, LetterId]]:
        """The same letters, each with its append time in Unix milliseconds."""
        for offset, time_ms in zip(self._offsets, self._times, strict=True):
            if resolved or not self._states[offset - self.start]:
                yield time_ms, LetterId(self.partition, offset)

    def resolvable(self) -> array[int]:
        """The open letters among the wanted to which there is no obstacle, in order."""
        pairs = zip(self._offsets, self._obstacles, strict=True)
        return array("q", (one for one, obstacle in pairs if not obstacle and not self._states[one - self.start]))

    def obstacles(self) -> Counter[str]:
        """Why the other open ones cannot be resolved, and how many that holds back."""
        pairs = zip(self._offsets, self._obstacles, strict=True)
        kept = (self._sentences[obstacle] for one, obstacle in pairs if not self._states[one - self.start])
        return Counter(sentence for sentence in kept if sentence is not None)


def stretches(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """From where to where to read, so that all these offsets, which ascend, are read, and few others."""
    if not offsets:
        return
    start = last = offsets[0]
    for offset in offsets:
        if offset - last > _NEAR:
            yield start, last + 1
            start = offset
        last = offset
    yield start, last + 1
