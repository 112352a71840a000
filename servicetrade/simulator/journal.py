"""Pure: what the sender did with every message of an account, and the sums of it.

A receiver may have stored a message although the sender saw a time-out. So of each message the copies
stored lie between `deliveries_2xx` and `attempts`; the books of a pipeline balance within these bounds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)


@dataclass(slots=True, kw_only=True)
class Entry:
    """One message to one webhook, with all its sendings (a repeat is a second sending).

    Args:
        elements: of `data`, those deliberately broken included; 0 if the body is not JSON.
        attempts: POSTs begun, an upper bound of the copies stored.
        deliveries_2xx: attempts answered 2xx, a lower bound of the copies stored.
        delivered_3xx: attempts answered 3xx: delivered to the sender, hardly stored.
        lost_by_4xx: attempts answered 4xx: delivered to the sender, lost to the receiver.
        refused: sendings given up for good after the last attempt.
        outcomes: of each finished sending, in order of finishing: "accepted <status>" or "refused for good".
    """

    webhook_id: int
    message_id: str
    sha256: str
    elements: int
    poison_elements: int = 0
    poison_body: bool = False
    sendings: int = 0
    attempts: int = 0
    deliveries_2xx: int = 0
    delivered_3xx: int = 0
    lost_by_4xx: int = 0
    refused: int = 0
    outcomes: list[str] = field(default_factory=list)

    @property
    def pending(self) -> int:
        """Sendings not finished yet."""
        return self.sendings - len(self.outcomes)


class Journal:
    """All entries of one account, in order of first sending."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def sending(self, entry: Entry) -> Entry:
        """Note that a message is about to be sent (again); returns the entry to use from here on."""
        known = self._entries.setdefault((entry.webhook_id, entry.message_id), entry)
        known.sendings += 1
        return known

    def page(self, offset: int, limit: int) -> list[dict[str, Any]]:
        """Entries as JSON."""
        return [
            {**asdict(entry), "pending": entry.pending}
            for entry in list(self._entries.values())[offset : offset + limit]
        ]

    def totals(self) -> dict[str, int]:
        """Sums over all entries.

        notifications_2xx counts the elements of every accepted delivery, so those of a repeat again;
        notifications_attempted is the upper bound of the same; messages_lost had no sending that the
        sender takes for delivered, messages_never_2xx none that was answered 2xx, and none is pending.
        """
        entries = self._entries.values()
        finished = [entry for entry in entries if not entry.pending]
        return {
            "messages": len(entries),
            "sendings": sum(e.sendings for e in entries),
            "pending": sum(e.pending for e in entries),
            "attempts": sum(e.attempts for e in entries),
            "deliveries_2xx": sum(e.deliveries_2xx for e in entries),
            "delivered_3xx": sum(e.delivered_3xx for e in entries),
            "lost_by_4xx": sum(e.lost_by_4xx for e in entries),
            "refused_for_good": sum(e.refused for e in entries),
            "messages_2xx": sum(1 for e in entries if e.deliveries_2xx),
            "messages_lost": sum(1 for e in finished if e.refused == e.sendings),
            "messages_never_2xx": sum(1 for e in finished if not e.deliveries_2xx),
            "elements": sum(e.elements for e in entries),
            "elements_2xx": sum(e.elements for e in entries if e.deliveries_2xx),
            "notifications_2xx": sum(e.elements * e.deliveries_2xx for e in entries),
            "notifications_attempted": sum(e.elements * e.attempts for e in entries),
            "poison_elements_2xx": sum(e.poison_elements * e.deliveries_2xx for e in entries),
            "poison_bodies_2xx": sum(e.deliveries_2xx for e in entries if e.poison_body),
            "repeated_2xx": sum(e.deliveries_2xx - 1 for e in entries if e.deliveries_2xx),
        }


def answered(entry: Entry, status: int) -> None:
    """Note an answer that counts as delivered (200..499); it finishes the sending."""
    if status in _SUCCESS:
        entry.deliveries_2xx += 1
    elif status in _REDIRECT:
        entry.delivered_3xx += 1
    else:
        entry.lost_by_4xx += 1
    entry.outcomes.append(f"accepted {status}")


def refused(entry: Entry) -> None:
    """Note that the last attempt of a sending failed: the message is discarded for good."""
    entry.refused += 1
    entry.outcomes.append("refused for good")
