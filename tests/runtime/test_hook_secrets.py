"""Secrets in a file's bytes: whatever of a change has arrived, what stays is there, and nothing is malformed."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.hook_secrets import Write, adding, ages, fingerprint_of, live_in, retiring
from runtime.settings import HOOK_SECRET

ALPHABET = string.ascii_letters + string.digits + "-_"
SECRETS = st.text(ALPHABET, min_size=16, max_size=70)
MADE = st.text(ALPHABET, min_size=32, max_size=32)
BLANKS = st.text(" \t\r\n", max_size=40)


def applied(held: bytes, write: Write, arrived: int | None = None) -> bytes:
    """The bytes when those of the write have arrived whose bits are set, or all; a file grows as a whole."""
    end = write.at + len(write.data)
    if arrived is None or end > len(held):
        return held[: write.at] + write.data + held[end:]
    bits = ((arrived >> place) & 1 for place in range(len(write.data)))
    mixed = bytes(new if bit else old for bit, old, new in zip(bits, held[write.at : end], write.data, strict=True))
    return held[: write.at] + mixed + held[end:]


def states(held: bytes, writes: list[Write], data: st.DataObject) -> list[bytes]:
    """What a reader may find at any time while the writes are made, and at last."""
    arrived = data.draw(st.integers(0, 2**70 - 1), label="arrived")
    found = [held]
    for write in writes:
        assert len(held) >= write.at
        found += [applied(held, write, arrived), held := applied(held, write)]
    return found


def is_wellformed(state: bytes) -> bool:
    words = state.decode().split()
    return len(words) in (1, 2) and all(HOOK_SECRET.fullmatch(word) for word in words)


@given(
    first=SECRETS, before=BLANKS, after=BLANKS, made=st.lists(MADE, min_size=3, max_size=3, unique=True), data=st.data()
)
def test_at_every_moment_of_rotations_the_file_is_wellformed_and_holds_what_stays(
    first: str, before: str, after: str, made: list[str], data: st.DataObject
) -> None:
    live = [first]
    held = f"{before}{first}{after}".encode()
    for new in made:
        if new in live:
            continue
        seen = states(held, adding(held, new), data)
        assert all(is_wellformed(state) and live[0] in live_in(state.decode()) for state in seen)
        held = seen[-1]
        assert live_in(held.decode()) == (live[0], new)

        gone, stays = data.draw(st.permutations([live[0], new]), label="gone and stays")
        seen = states(held, retiring(held, gone), data)
        assert all(is_wellformed(state) and stays in live_in(state.decode()) for state in seen)
        held = seen[-1]
        assert live_in(held.decode()) == (stays,)
        live = [stays]


@given(pair=st.lists(SECRETS, min_size=2, max_size=2, unique=True), between=BLANKS, after=BLANKS, data=st.data())
def test_retiring_from_any_file_keeps_the_other_secret_at_every_moment(
    pair: list[str], between: str, after: str, data: st.DataObject
) -> None:
    held = f"{pair[0]} {between}{pair[1]}{after}".encode()
    gone, stays = data.draw(st.permutations(pair), label="gone and stays")
    seen = states(held, retiring(held, gone), data)
    assert all(stays in state.decode().split() for state in seen)
    assert live_in(seen[-1].decode()) == (stays,)


def test_the_file_does_not_grow_with_the_number_of_rotations() -> None:
    held, live = b"a" * 32 + b"\n", "a" * 32
    for letter in "bcdefgh":
        for write in adding(held, letter * 32):
            held = applied(held, write)
        for write in retiring(held, live):
            held = applied(held, write)
        live = letter * 32
    assert held == (live + "\n").encode() * 2


def test_a_fingerprint_is_the_beginning_of_the_sha_256() -> None:
    assert fingerprint_of("winter-7f3a-0123456") == hashlib.sha256(b"winter-7f3a-0123456").hexdigest()[:8]
    assert len(fingerprint_of("\udcff")) == 8


@pytest.mark.parametrize(
    ("text", "live"),
    [("one", ("one",)), (" one\n two ", ("one", "two")), ("two two", ("two",)), ("b a", ("b", "a"))],
)
def test_the_newest_secret_is_the_last(text: str, live: tuple[str, ...]) -> None:
    assert live_in(text) == live
    assert ages(live_in(text))[-1] == "newest"


def test_a_write_does_not_show_its_bytes() -> None:
    assert "winter" not in repr(adding(b"summer-91bc-0123456", "winter-7f3a-0123456"))
