"""DeadLetter: why a record could not be used, carried in headers beside its untouched bytes; and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from schemas.record import Record, header
from schemas.topics import REDRIVES_HEADER, RESOLUTION_HEADER, RESOLUTIONS, RESOLVES_HEADER

HEADER_PREFIX = "x-dlq-"
PROCESSORS = "processors"
"""The stage of what the processors could not use; every other stage is the name of a sink."""
REASON_HEADER = "tradewind-reason"
"""Beside RESOLUTION_HEADER: why, in UTF-8, where a person said so."""

_FIRST = f"{HEADER_PREFIX}topic"
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """The reason of one dead letter; every field travels as a header `x-dlq-<field>` in UTF-8.

    The record's key and value are those of the original record, byte for byte; its own headers are kept too.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    """Who gave up: PROCESSORS, or the name of a sink."""
    error: str
    """Class of the failure, for example `not-json` or `Reject`."""
    message: str
    attempts: int
    first_failure_ms: int
    last_failure_ms: int
    elements: str = ""
    """Comma-separated indices of the bad elements of a webhook's data array, at most 1,000; empty: the whole record."""
    redrives: int = 0
    """How often it had been redriven before it failed again; the header is left out at 0."""

    def headers(self) -> list[tuple[str, bytes]]:
        """The reason as Kafka headers."""
        return [
            (HEADER_PREFIX + item.name.replace("_", "-"), str(getattr(self, item.name)).encode())
            for item in fields(self)
            if item.name != "redrives" or self.redrives
        ]


def read_dead_letter(headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter:
    """The reason from a dead letter's headers.

    Raises:
        ValueError: a header is missing or not readable.
    """
    own: dict[str, bytes] = {}
    for name, value in headers:
        if name == _FIRST:  # the original may bring headers of such names along: those of the letter come last
            own.clear()
        if name.startswith(HEADER_PREFIX) and value is not None:
            own[name] = value
    found = {name.removeprefix(HEADER_PREFIX).replace("-", "_"): value.decode() for name, value in own.items()}
    try:
        return DeadLetter(
            topic=found["topic"],
            partition=int(found["partition"]),
            offset=int(found["offset"]),
            stage=found["stage"],
            error=found["error"],
            message=found["message"],
            attempts=int(found["attempts"]),
            first_failure_ms=int(found["first_failure_ms"]),
            last_failure_ms=int(found["last_failure_ms"]),
            elements=found["elements"],
            redrives=int(found.get("redrives", 0)),
        )
    except KeyError as error:
        raise ValueError(f"no dead letter: header {HEADER_PREFIX}{error.args[0]} is missing") from error


def redrives_of(record: Record) -> int:
    """How often the record has been redriven; what is no number of 1 to 9 ASCII digits is no redrive of ours."""
    value = header(record, REDRIVES_HEADER) if record.headers else None
    return int(value) if value is not None and value.isdigit() and len(value) <= _MOST_DIGITS else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a person did about a dead letter: a record without a value in the letter's partition, under its key."""

    what: str
    """One of RESOLUTIONS."""
    offset: int
    """Of the letter."""
    reason: str = ""

    def headers(self) -> list[tuple[str, bytes]]:
        """The resolution as Kafka headers."""
        headers = [(RESOLUTION_HEADER, self.what.encode()), (RESOLVES_HEADER, str(self.offset).encode())]
        return [*headers, (REASON_HEADER, self.reason.encode())] if self.reason else headers


def is_resolution(record: Record) -> bool:
    """Whether a record of servicetrade.deadletters tells of a letter, and is none."""
    names = {name for name, _ in record.headers}
    # A letter has the headers of its original, whatever they are, and its own.
    return RESOLUTION_HEADER in names and _FIRST not in names


def read_resolution(record: Record) -> Resolution:
    """What the record says was done.

    Raises:
        ValueError: it does not say so in a way that is known.
    """
    what, offset = header(record, RESOLUTION_HEADER) or b"", header(record, RESOLVES_HEADER) or b""
    if what.decode() not in RESOLUTIONS or not offset.isdigit():
        raise ValueError(f"no resolution: {what[:80]!r} of {offset[:80]!r}")
    reason = header(record, REASON_HEADER) or b""
    return Resolution(what=what.decode(), offset=int(offset), reason=reason.decode(errors="replace"))
