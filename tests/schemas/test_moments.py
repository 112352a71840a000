"""Times: how those that people write are read, and how they are shown."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.moments import read_date_time, read_moment, shown_ago, shown_moment, shown_second, shown_span, shown_time

NOW = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
LAST_MS = 253_402_300_799_000


def ms(*parts: int, offset_h: int = 0) -> int:
    return round(datetime(*parts, tzinfo=timezone(timedelta(hours=offset_h))).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-20", ms(2026, 11, 20)),
        ("1970-01-01", 0),
        ("2026-11-22T14:30", ms(2026, 11, 22, 14, 30)),
        ("2026-11-22 14:30:05", ms(2026, 11, 22, 14, 30, 5)),
        ("2026-11-22T14:30:05.25", ms(2026, 11, 22, 14, 30, 5) + 250),
        ("2026-11-22T14:30:05.123456789Z", ms(2026, 11, 22, 14, 30, 5) + 123),
        ("2026-11-22t14:30z", ms(2026, 11, 22, 14, 30)),
        ("2026-11-22 14:30:05 UTC", ms(2026, 11, 22, 14, 30, 5)),
        ("2026-11-22 14:30+02:00", ms(2026, 11, 22, 14, 30, offset_h=2)),
        ("2026-11-22T14:30:00-0500", ms(2026, 11, 22, 14, 30, offset_h=-5)),
        (" 2026-11-22 ", ms(2026, 11, 22)),
        ("now", NOW_MS),
        ("90s", NOW_MS - 90_000),
        ("30min", NOW_MS - 1_800_000),
        ("12h", NOW_MS - 43_200_000),
        ("7d", NOW_MS - 604_800_000),
        ("4w", NOW_MS - 4 * 604_800_000),
        ("3 d ago", NOW_MS - 259_200_000),
        ("0001-01-01", 0),
        ("3000w", 0),
    ],
)
def test_a_time_is_utc_unless_it_says_a_zone_or_how_long_ago_it_was(written: str, meant: int) -> None:
    assert read_moment(written, NOW_MS) == meant


@pytest.mark.parametrize(
    "written",
    ["", "yesterday", "7", "2h30", "-2h", "3m", "5 years", "20261122", "2026-W47", "2026-11-22T14", "2026-11-22+02:00"],
)
def test_what_is_no_time_is_said_with_what_would_be(written: str) -> None:
    with pytest.raises(ValueError, match=r"is no time; it is written 2026-11-22, .*now, or how long ago: 90s, 30min"):
        read_moment(written, NOW_MS)


@pytest.mark.parametrize("written", ["2026-13-01", "2026-11-31", "2026-11-22T25:00", "2026-11-22T10:00+99:00"])
def test_what_no_calendar_has_is_said_with_the_reason(written: str) -> None:
    with pytest.raises(ValueError, match=r"is no time: .+; it is written 2026-11-22"):
        read_moment(written, NOW_MS)


def test_a_time_that_lies_ahead_is_read_as_well() -> None:
    assert read_moment("2026-11-23", NOW_MS) == ms(2026, 11, 23) > NOW_MS


@pytest.mark.parametrize("written", ["now", "12h"])
def test_where_a_date_is_asked_for_nothing_else_is_one(written: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        read_date_time(written)


@given(moment_ms=st.integers(0, LAST_MS))
def test_what_is_shown_is_read_as_what_it_was(moment_ms: int) -> None:
    assert read_moment(shown_moment(moment_ms), NOW_MS) == moment_ms
    assert read_moment(f"{shown_second(moment_ms)} UTC", NOW_MS) == moment_ms // 1000 * 1000


def test_the_zone_of_the_machine_changes_nothing() -> None:
    code = "from schemas.moments import *; print(read_moment('2026-11-22T09:30', 0), shown_time(0, 0))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True
        ).stdout
        for zone in ("UTC", "America/New_York", "Asia/Kolkata")
    }
    assert said == {f"{ms(2026, 11, 22, 9, 30)} 1970-01-01 00:00:00 UTC, 0 s ago\n"}


@pytest.mark.parametrize(
    ("past_ms", "ago"),
    [
        (0, "0 s ago"),
        (59_999, "59 s ago"),
        (60_000, "1 min ago"),
        (7_200_000, "2 h ago"),
        (200_000_000, "2 d ago"),
        (-5, "0 s ago"),
    ],
)
def test_a_time_is_shown_in_utc_with_how_long_ago_it_is(past_ms: int, ago: str) -> None:
    moment_ms = NOW_MS - past_ms
    moment = datetime.fromtimestamp(moment_ms // 1000, UTC)
    assert shown_ago(moment_ms, NOW_MS) == ago
    assert shown_time(moment_ms, NOW_MS) == f"{moment:%Y-%m-%d %H:%M:%S} UTC, {ago}"


@pytest.mark.parametrize("nonsense", [-1, 10**30])
def test_a_time_that_is_no_date_is_still_shown(nonsense: int) -> None:
    assert shown_time(nonsense, NOW_MS) == f"{nonsense} ms after 1970"
    assert shown_second(nonsense) in ("1970-01-01 00:00:00", "9999-12-31 23:59:59")


@pytest.mark.parametrize(
    ("span_ms", "shown"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_250, "1.2 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (3_599_999, "59 min 59 s"),
        (7_500_000, "2 h 5 min"),
        (86_400_000, "1 d"),
        (273_600_000, "3 d 4 h"),
        (-1_400, "1.4 s"),
    ],
)
def test_a_span_is_shown_in_the_units_that_matter(span_ms: int, shown: str) -> None:
    assert shown_span(span_ms) == shown
