"""Pure: times as people write and read them: what they type is read, and what they are shown is UTC.

Times are Unix milliseconds throughout.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = "now"
WRITTEN = "2026-11-22, 2026-11-22T09:30 (UTC, unless it says a zone), now, or how long ago: 90s, 30min, 12h, 7d, 4w"
"""How a time is written, for sentences and helps."""

_LAST_MS = 253_402_300_799_000
"""The last second that a calendar of four digits holds."""
_UNITS_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_AGO = re.compile(r"([0-9]{1,9}) ?(s|min|h|d|w)(?: ago)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)"
    r"(?: ?([Zz]|UTC|[+-][0-9]{2}:?[0-9]{2}))?"
)


def read_moment(text: str, now_ms: int) -> int:
    """The time that a person wrote: a date, a date and time, `now`, or how long ago; see `WRITTEN`.

    What lies before 1970 is the beginning of 1970; what lies ahead of `now_ms` is for the caller to judge.

    Raises:
        ValueError: it is none of these; the sentence says how a time is written.
    """
    said = text.strip()
    if said == NOW:
        return now_ms
    if found := _AGO.fullmatch(said):
        return max(0, now_ms - int(found[1]) * _UNITS_MS[found[2]])
    return read_date_time(said)


def read_date_time(text: str) -> int:
    """The time that a person wrote as a date (its midnight), or a date and time; UTC unless it says a zone.

    Raises:
        ValueError: it is neither, or no calendar has it; the sentence says how a time is written.
    """
    found = _DATE_TIME.fullmatch(text)
    if found is None and not _DATE.fullmatch(text):
        raise ValueError(f"{text!r} is no time; it is written {WRITTEN}")
    day, clock, zone = found.groups() if found else (text, "00:00", None)
    offset = "+00:00" if zone is None or zone.upper() in ("Z", "UTC") else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: {error}; it is written {WRITTEN}") from None
    return max(0, (moment - EPOCH) // timedelta(milliseconds=1))


def utc_time(moment_ms: int) -> datetime:
    """The time by the calendar; what no calendar holds is the nearest that it does."""
    return EPOCH + timedelta(milliseconds=min(max(0, moment_ms), _LAST_MS))


def shown_moment(moment_ms: int) -> str:
    """Date and time, with milliseconds where there are any; that it is UTC is said by whoever shows it."""
    return f"{utc_time(moment_ms):%Y-%m-%d %H:%M:%S}" + (f".{moment_ms % 1000:03d}" if moment_ms % 1000 else "")


def shown_second(moment_ms: int) -> str:
    """Date and time, to the second; that it is UTC is said by whoever shows it."""
    return f"{utc_time(moment_ms):%Y-%m-%d %H:%M:%S}"


def shown_time(moment_ms: int, now_ms: int) -> str:
    """Date and time, marked as UTC, and how long ago that is."""
    if not 0 <= moment_ms <= _LAST_MS:
        return f"{moment_ms} ms after 1970"
    return f"{shown_second(moment_ms)} UTC, {shown_ago(moment_ms, now_ms)}"


def shown_ago(moment_ms: int, now_ms: int) -> str:
    """How long ago that is, in the largest unit that leaves a figure: 5 s ago, 3 d ago."""
    past_ms = max(0, now_ms - moment_ms)
    for unit in ("d", "h", "min"):
        if past_ms >= _UNITS_MS[unit]:
            return f"{past_ms // _UNITS_MS[unit]:,} {unit} ago"
    return f"{past_ms // 1000} s ago"


def shown_span(milliseconds: int) -> str:
    """A span of time: 12 ms, 1.4 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; what is too small to matter is cut off."""
    span = abs(milliseconds)
    if span < _UNITS_MS["s"]:
        return f"{span} ms"
    if span < _UNITS_MS["min"]:
        return f"{span // 100 / 10:g} s"
    for unit, smaller in (("d", "h"), ("h", "min"), ("min", "s")):
        if span >= _UNITS_MS[unit]:
            rest = span % _UNITS_MS[unit] // _UNITS_MS[smaller]
            return f"{span // _UNITS_MS[unit]:,} {unit}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError(milliseconds)
