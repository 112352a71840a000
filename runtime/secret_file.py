"""Changes the file of an account's hook secrets in place: the same inode, as containers mount single files."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.hook_secrets import Write, adding, ages, fingerprint_of, live_in, retiring
from runtime.settings import HOOK_SECRET
from schemas.errors import SettingsError

_SECRET_BYTES = 24


def new_secret() -> str:
    """A random secret for a webhook URL: 32 characters."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def add_secret(file: Path) -> tuple[str, str]:
    """Add a new secret, on disk when this returns; gives the fingerprints of the old one and of the new one.

    Raises:
        SettingsError: two are live already, or the file cannot be written or holds something else.
    """
    with _locked(file) as descriptor:
        held, live = _read(descriptor, file)
        if len(live) > 1:
            raise SettingsError(f"{file}: two secrets are live already, {_named(live)}: retire one first")
        new = new_secret()
        _write(descriptor, adding(held, new))
    return fingerprint_of(live[0]), fingerprint_of(new)


def retire_secret(file: Path, fingerprint: str) -> str:
    """Remove a secret, on disk when this returns; gives the fingerprint of the one that stays.

    Raises:
        SettingsError: it is the last one or not there, or the file cannot be written or holds something else.
    """
    with _locked(file) as descriptor:
        held, live = _read(descriptor, file)
        gone = [secret for secret in live if fingerprint_of(secret) == fingerprint.lower()]
        if not gone:
            # What was given is not repeated: it may be the secret itself.
            raise SettingsError(f"{file}: no secret has this fingerprint; live: {_named(live)}")
        if len(live) == 1:
            raise SettingsError(f"{file}: {fingerprint_of(gone[0])} is the last secret: add a new one first")
        _write(descriptor, retiring(held, gone[0]))
    return next(fingerprint_of(secret) for secret in live if secret != gone[0])


@contextmanager
def _locked(file: Path) -> Iterator[int]:
    """The file, open, and with no other command at it."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be written: {error.strerror}") from error


def _read(descriptor: int, file: Path) -> tuple[bytes, tuple[str, ...]]:
    """The file's bytes, and the live secrets in them."""
    held = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    # Read as ASCII, in which white space is the same to bytes and to text.
    words = held.decode("ascii", "replace").split()
    if len(words) not in (1, 2) or not all(HOOK_SECRET.fullmatch(word) for word in words):
        raise SettingsError(f"{file}: holds something else than one or two hook secrets: put it right by hand")
    return held, live_in(" ".join(words))


def _write(descriptor: int, writes: Sequence[Write]) -> None:
    size = os.fstat(descriptor).st_size
    try:
        for write in writes:
            done = 0
            while done < len(write.data):
                done += os.pwrite(descriptor, write.data[done:], write.at + done)
        os.fsync(descriptor)
    except OSError:
        # The disk is full: half a secret at the end would make the configuration unreadable.
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, size)
        raise


def _named(live: Sequence[str]) -> str:
    return " and ".join(f"{fingerprint_of(secret)} ({age})" for secret, age in zip(live, ages(live), strict=True))
