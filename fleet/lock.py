"""Holds a file locked, so that two `tradewind up` are not in each other's way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from schemas.errors import SettingsError


@contextmanager
def alone(config: Path, log_dir: Path) -> Iterator[None]:
    """A block in which no other `tradewind up` runs on this configuration, or logs into this folder.

    The first lock is beside the configuration, wherever the command is called from and whoever calls it; where
    nothing can be written there, the second one and the ports have to do.

    Raises:
        SettingsError: another one does; the sentence has its pid. Or the folder of the logs cannot be written.
    """
    config = config.resolve()
    with ExitStack() as stack:
        with suppress(OSError):
            lock = config.parent / ".tradewind" / f"{config.name}.lock"
            stack.enter_context(_locked(lock, f"{config} is up already"))
        try:
            stack.enter_context(_locked(log_dir / "up.lock", f"another `tradewind up` logs into {log_dir}"))
        except OSError as error:
            raise SettingsError(f"--log-dir: {log_dir} cannot be written: {error.strerror}") from error
        yield


@contextmanager
def _locked(path: Path, taken: str) -> Iterator[None]:
    """Raises OSError: the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            who = f"pid {pid}" if pid.isdigit() else "by another process"
            raise SettingsError(f"{taken} ({who}): stop that one first") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
