"""Pure: numbered webhook bodies of many sizes, a few of them large, a few of them not UTF-8."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from random import Random

from schemas.encoding import encode

LARGE = 0.015
"""Share of bodies of some 100 KB that do not compress."""
NOT_UTF8 = 0.01
ACTIONS = ("created", "updated", "deleted")
KINDS = ("job", "invoice", "appointment", "quote")
PER_ENTITY = 4
"""Messages about the same entity: few, so that a change lists all its sources."""
_NOT_UTF8_BYTES = b"\xff\xfe\x80\xc3\x28"
_MARK = b"not-utf-8-here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One webhook; `readable` says whether it is JSON in UTF-8."""

    message_id: str
    value: bytes
    readable: bool


@dataclass(slots=True, kw_only=True)
class Bodies:
    """Writes one account's webhooks: one notification each, and no message id twice."""

    account: str
    rng: Random
    count: int = field(default=0)

    def next(self, now_s: int) -> Body:
        """The next webhook; `now_s` is Unix seconds."""
        self.count += 1
        roll, message_id = self.rng.random(), f"{self.account}-{self.count:07d}"
        readable = roll >= NOT_UTF8
        return Body(message_id=message_id, value=self._value(message_id, roll, now_s), readable=readable)

    def _value(self, message_id: str, roll: float, now_s: int) -> bytes:
        rng, number = self.rng, self.count
        large = NOT_UTF8 <= roll < NOT_UTF8 + LARGE
        size = rng.randrange(60_000, 140_000) if large else int(rng.paretovariate(1.2) * 40) % 8_000
        entity = {"type": KINDS[number // PER_ENTITY % len(KINDS)], "id": str(number // PER_ENTITY)}
        element = {
            "entity": entity,
            "action": rng.choice(ACTIONS),
            "timestamp": now_s,
            "userId": rng.randrange(1, 50),
            "changeset": [{"field": "status", "oldValue": number - 1, "newValue": number}],
        }
        body = {"messageId": message_id, "timestamp": now_s, "number": number, "data": [element]}
        body["note"] = b64encode(rng.randbytes(size)).decode() + " café ✓"
        if roll < NOT_UTF8:
            body["raw"] = _MARK.decode()
        return encode(body).replace(_MARK, _NOT_UTF8_BYTES)
