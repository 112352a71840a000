"""Reads what options of several commands say: times."""

from __future__ import annotations

from schemas.errors import SettingsError
from schemas.moments import read_moment


def read_time(name: str, text: str, now_ms: int) -> int:
    """Unix milliseconds of what was said after the option `name`.

    Raises:
        SettingsError: it is no time.
    """
    try:
        return read_moment(text, now_ms)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


def read_past(name: str, text: str, now_ms: int) -> int:
    """The same, of a time that is not to lie ahead.

    Raises:
        SettingsError: it is no time, or lies ahead.
    """
    moment_ms = read_time(name, text, now_ms)
    if moment_ms > now_ms:
        raise SettingsError(f"{name}: {text} lies ahead")
    return moment_ms
