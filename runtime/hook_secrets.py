"""Pure: the secrets of webhook URLs: told apart without being shown, and added to or retired from a file's bytes.

A file is changed in place while others read it, and nothing makes such a write one: a reader on another core sees bytes
of before and after it (observed on ext4, where a write crosses a cache line). So whatever of a change has
arrived, in whichever order within one write, the bytes hold one or two words of the right shape, and what stays is one.
Blanking a retired secret would show its remains; so what stays is written over it, and stands there twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

FINGERPRINT_DIGITS = 8
_WORD = re.compile(rb"[A-Za-z0-9_-]+")


def fingerprint_of(secret: str) -> str:
    """The first 8 hex digits of the secret's SHA-256: tells secrets apart, and is safe to log and to print."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_DIGITS]


def live_in(text: str) -> tuple[str, ...]:
    """The distinct secrets that white space separates in `text`, the newest last."""
    return tuple(dict.fromkeys(text.split()))


def ages(live: Sequence[str]) -> list[str]:
    """What to call each of the live secrets: old, newest."""
    return ["old"] * (len(live) - 1) + ["newest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Bytes to be written into a file at once."""

    at: int
    """Bytes from the file's beginning."""
    data: bytes = field(repr=False)


def adding(held: bytes, new: str) -> list[Write]:
    """The writes, in order, that make `new` the newest secret of a file with one live secret.

    Args:
        held: what the file holds: the live secret, once or twice.
        new: at least as long as any secret has to be.
    """
    *_, last = words = list(_WORD.finditer(held))
    if len(words) > 1:
        return _turning(last, new.encode())
    # Leaves the old one the room that the new one will need when it takes its place.
    missing = 1 + max(0, len(new) - len(last[0])) - (len(held) - last.end())
    apart = b" " * (missing - 1) + b"\n" if missing > 0 else b""
    return [Write(at=len(held), data=apart + new.encode() + b"\n")]


def retiring(held: bytes, gone: str) -> list[Write]:
    """The writes, in order, that remove `gone` from a file that holds it and another secret.

    The bytes of the other one are not touched. Where that is longer and has no room in the place of `gone`, as it can
    be in a file made by hand, blanks are written over `gone`: who reads at that very moment may see remains of it.
    """
    words = list(_WORD.finditer(held))
    slot = next(word for word in words if word[0] == gone.encode())
    stays = next(word[0] for word in words if word[0] != gone.encode())
    if held[slot.end() : slot.start() + len(stays) + 1].strip():
        return [Write(at=slot.start(), data=b" " * len(slot[0]))]
    return _turning(slot, stays)


def _turning(slot: re.Match[bytes], into: bytes) -> list[Write]:
    """Turn one word into another by way of words that are no shorter than the shorter of the two."""
    at, length = slot.start(), len(slot[0])
    shrink = [Write(at=at + place, data=b" ") for place in reversed(range(len(into), length))]
    grow = [Write(at=at + place, data=into[place : place + 1]) for place in range(length, len(into))]
    return [*shrink, *grow, Write(at=at, data=into[:length])]
