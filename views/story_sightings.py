"""Pure: remembers when a message's notifications about the entity came last, as long as the core remembers them."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.record import LogRecord, header
from schemas.topics import RECEIPT_HEADER

_ALL = -1
"""Stands for every element of a message whose notifications were told together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """When a message came."""

    log_ms: int
    """The partition's time then, which never runs backwards but when the core starts anew."""
    at_ms: int
    """Its record's timestamp."""
    receipt: bytes | None
    """Ingest's, of the request."""


class Sightings:
    """What repeats may repeat: nothing is older than the horizon, and no bodies are kept.

    Args:
        horizon_ms: what comes again later than that is no repeat to the core.
    """

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = horizon_ms
        self._latest: dict[tuple[str, int], Sighting] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def of(self, message_id: str, index: int) -> Sighting | None:
        """Where this element of the message was seen last, if it was."""
        found = [self._latest.get((message_id, name)) for name in (index, _ALL)]
        return max((one for one in found if one is not None), key=lambda one: one.log_ms, default=None)

    def put(self, message_id: str, index: int | None, record: LogRecord, log_ms: int) -> None:
        """Remember an element, or with None all of them, and forget what is too old.

        Args:
            message_id: of the webhook.
            index: of the element.
            record: the webhook.
            log_ms: the partition's time.
        """
        latest, name = self._latest, (message_id, _ALL if index is None else index)
        latest.pop(name, None)  # what is put last stands last: the oldest are at the beginning
        while latest:
            oldest = next(iter(latest))
            if 0 <= log_ms - latest[oldest].log_ms <= self._horizon_ms:
                break
            del latest[oldest]
        latest[name] = Sighting(log_ms=log_ms, at_ms=record.timestamp, receipt=header(record, RECEIPT_HEADER))
