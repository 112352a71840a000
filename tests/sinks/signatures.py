"""A second implementation of Standard Webhooks' signatures, from RFC 2104 and the specification."""

from __future__ import annotations

import hashlib
import time
from base64 import b64decode
from collections.abc import Mapping


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


def verified(headers: Mapping[str, str], body: bytes, key: bytes) -> bool:
    """Whether one of the signatures is by this key, and the request is of the last five minutes."""
    at = int(headers["webhook-timestamp"])
    expected = hmac_sha256(key, b"%b.%d.%b" % (headers["webhook-id"].encode(), at, body))
    versions = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    return abs(time.time() - at) < 300 and any(kind == "v1" and b64decode(one) == expected for kind, _, one in versions)
