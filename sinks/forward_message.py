"""Pure: a change as a signed webhook, in the format of Standard Webhooks 1.0 (standardwebhooks.com)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence

from schemas.change import EntityChange, cloud_event_headers
from schemas.encoding import encode


def body_of(change: EntityChange, value: bytes) -> bytes:
    """The request's body: the same bytes for every attempt and every repeat.

    Args:
        change: gives the type, and the time: that of its CloudEvent.
        value: the change as it stands in its record, JSON.
    """
    name = encode(f"{change.entity_type}.{change.action}")
    at = encode(dict(cloud_event_headers(change))["ce_time"].decode())
    return b'{"type":%b,"timestamp":%b,"data":%b}' % (name, at, value)


def signed_headers(message_id: str, body: bytes, keys: Sequence[bytes], *, now_s: int) -> dict[str, str]:
    """What tells the subscriber who sent the body and when; every key signs, so that either will do in a rotation."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(_signature(message_id, body, key, now_s) for key in keys),
    }


def _signature(message_id: str, body: bytes, key: bytes, now_s: int) -> str:
    signed = f"{message_id}.{now_s}.".encode() + body
    return f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
