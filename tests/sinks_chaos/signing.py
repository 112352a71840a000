"""Pure: tells a rightly signed request of Standard Webhooks 1.0 from another, by its specification alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

TOLERANCE_S = 300
"""What the specification's own libraries allow a timestamp to be off."""
PREFIX = "whsec_"


def fault_of(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> str | None:
    """What is wrong with a request, None if nothing is.

    Args:
        secrets: those that are live: each of them must have signed, or a receiver that knows only one refuses.
        headers: names in lower case.
        body: as it came.
        now: Unix seconds.
    """
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in headers]
    if missing:
        return f"no {', '.join(missing)}"
    timestamp = headers["webhook-timestamp"]
    if not (timestamp.isascii() and timestamp.isdigit()):
        return f"webhook-timestamp is {timestamp!r}"
    if abs(now - int(timestamp)) > TOLERANCE_S:
        return f"webhook-timestamp is {now - int(timestamp):.0f} s off"
    found = [part.removeprefix("v1,") for part in headers["webhook-signature"].split() if part.startswith("v1,")]
    signed = f"{headers['webhook-id']}.{timestamp}.".encode() + body
    for number, secret in enumerate(secrets):
        if not any(hmac.compare_digest(one.encode(), signature(secret, signed).encode()) for one in found):
            return f"secret {number} has not signed it"
    return None


def signature(secret: str, signed: bytes) -> str:
    """Base64 of the HMAC-SHA256; the key is what the secret's base64 part stands for."""
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
