"""Pure: how a dead letter is sent back to whoever gave it up, and when that would be of no use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.deadletter import HEADER_PREFIX, DeadLetter
from schemas.record import LogRecord
from schemas.topics import CONTROL_HEADER, ELEMENTS_HEADER, REDRIVE_TO_HEADER, REDRIVES_HEADER

Headers = list[tuple[str, bytes]]

_FAILURE = (HEADER_PREFIX, "x-redrive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Who is there to take a redriven letter, and from which topic."""

    topics: Mapping[str, str]
    """By stage, the full name of the topic that it reads."""

    def obstacle(self, letter: DeadLetter, record: LogRecord) -> str | None:
        """Why redriving the letter would come to nothing, or worse; None: it would not."""
        if any(name == CONTROL_HEADER for name, _ in record.headers):
            return "it is a control record: put rules in force with `tradewind rules apply`"
        topic = self.topics.get(letter.stage)
        if topic is None:
            return f"{letter.stage} is not in the configuration, and nobody else would take it"
        if topic != letter.topic:
            return f"it comes from {letter.topic}, and {letter.stage} reads {topic}"
        return None


def redriven(letter: DeadLetter, record: LogRecord) -> tuple[str, bytes | None, bytes, Headers]:
    """Topic, key, value and headers of the copy that goes back.

    The headers of the original stay, a webhook's receipt among them. Of a webhook only the elements that were bad are
    to be processed; where the letter names none that is all of it, or what an earlier redrive had named.
    """
    headers: Headers = [item for item in record.headers if not item[0].startswith(_FAILURE)]
    if letter.elements:
        headers = [item for item in headers if item[0] != ELEMENTS_HEADER]
        headers.append((ELEMENTS_HEADER, letter.elements.encode()))
    headers.append((REDRIVE_TO_HEADER, letter.stage.encode()))
    headers.append((REDRIVES_HEADER, str(letter.redrives + 1).encode()))
    return letter.topic, record.key, record.value or b"", headers
