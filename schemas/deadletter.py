"""DeadLetter: why a record could not be used, carried in headers beside its untouched bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

HEADER_PREFIX = "x-dlq-"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """The reason of one dead letter; every field travels as a header `x-dlq-<field>` in UTF-8.

    The record's key and value are those of the original record, byte for byte; its own headers are kept too.
    """

    topic: str
    partition: int
    offset: int
    stage: str
    """Who gave up: `processors`, or the name of a sink."""
    error: str
    """Class of the failure, for example `not-json` or `Reject`."""
    message: str
    attempts: int
    first_failure_ms: int
    last_failure_ms: int
    elements: str = ""
    """Comma-separated indices of the bad elements of a webhook's data array, at most 1,000; empty: the whole record."""

    def headers(self) -> list[tuple[str, bytes]]:
        """The reason as Kafka headers."""
        return [
            (HEADER_PREFIX + item.name.replace("_", "-"), str(getattr(self, item.name)).encode())
            for item in fields(self)
        ]


def read_dead_letter(headers: Iterable[tuple[str, bytes]]) -> DeadLetter:
    """The reason from a dead letter's headers.

    Raises:
        ValueError: a header is missing or not readable.
    """
    found = {
        name.removeprefix(HEADER_PREFIX).replace("-", "_"): value.decode()
        for name, value in headers
        if name.startswith(HEADER_PREFIX)
    }
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
        )
    except KeyError as error:
        raise ValueError(f"no dead letter: header {HEADER_PREFIX}{error.args[0]} is missing") from error
