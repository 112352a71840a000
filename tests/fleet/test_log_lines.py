"""What processes print, as `tradewind up` shows it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.log_lines import Look, as_json, last_words, readable

NAMES = ("up", "ingest", "mirror-1")
PLAIN, COLOURED = Look(NAMES, coloured=False), Look(NAMES, coloured=True)
TIME = "2026-11-22T21:03:12.345+00:00"

SHOWN = "2026-11-22 21:03:12.345 info    sink.retry"


def record(event: str = "sink.retry", level: str = "info", **fields: Any) -> str:
    head = {"time": TIME, "level": level, "process": "mirror-1-host", "logger": "sinks.worker", "event": event}
    return json.dumps({**head, **fields})


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (record(), SHOWN),
        (record(account="main", wait_s=1.5), f"{SHOWN} account=main wait_s=1.5"),
        (record(level="warning"), "2026-11-22 21:03:12.345 warning sink.retry"),
        (
            record(said="no answer", ids=[1], no=None, empty="", quote='a"b', at="a=b"),
            f'{SHOWN} said="no answer" ids=[1] no=null empty="" quote="a\\"b" at="a=b"',
        ),
        (record("Heartbeat failed"), "2026-11-22 21:03:12.345 info    sinks.worker: Heartbeat failed"),
        # What is no log record stays as it is.
        ("OpenJDK warning: too little memory", "OpenJDK warning: too little memory"),
        ("\tat kafka.Kafka.main", "    at kafka.Kafka.main"),
        ('{"event": "mine"}', '{"event": "mine"}'),
        ('{"half of a line', '{"half of a line'),
        ("[1, 2]", "[1, 2]"),
        ('{"time": 1, "level": 2, "event": 3}', '{"time": 1, "level": 2, "event": 3}'),
    ],
)
def test_a_log_record_is_a_line_that_people_can_read(line: str, shown: str) -> None:
    assert readable("ingest", line, PLAIN) == f"ingest   | {shown}"


def test_a_traceback_follows_its_record_line_by_line() -> None:
    line = record(
        "process.crashed", "error", error="ValueError('x')", traceback="Traceback:\n  File a\nValueError: x\n"
    )
    first, *rest = readable("ingest", line, PLAIN).split("\n")
    assert first.endswith("error   process.crashed error=\"ValueError('x')\"")
    assert rest == ["ingest   |   Traceback:", "ingest   |     File a", "ingest   |   ValueError: x"]


@pytest.mark.parametrize(
    "evil",
    ["\x1b]0;title\x07", "\x1b[2J", "\u202e", "a\rb", "\x9b31m", "\x7f", "a\nb", "\ud800"],
    ids=ascii,
)
def test_nothing_that_a_process_prints_reaches_the_terminal_raw(evil: str) -> None:
    lines = [
        evil,
        record(evil),
        record(reason=evil),
        record(level=evil),
        record("e", traceback=evil),
        record("x " + evil),
    ]
    lines.append(json.dumps({"time": evil, "level": "info", "event": "e", evil: {evil: [evil]}, "logger": evil}))
    for line in lines:
        shown = readable("ingest", line, PLAIN)
        assert all(each.isprintable() for each in shown.split("\n"))
        shown.encode()
        as_one = as_json("ingest", line, time=TIME)
        assert as_one.isprintable()
        assert as_one.isascii()
        json.loads(as_one)


@pytest.mark.parametrize(
    "line", ['{"a":' * 30_000, "[" * 60_000, '{"a":' + "[" * 400 + "]" * 400 + "}", "{" + "9" * 60_000]
)
def test_no_nesting_and_no_length_is_too_much(line: str) -> None:
    assert readable("ingest", line, PLAIN).startswith("ingest   | ")
    assert json.loads(as_json("ingest", line, time=TIME))["process"] == "ingest"


def test_every_process_has_its_colour_and_what_is_wrong_stands_out() -> None:
    shown = {name: readable(name, record(), COLOURED) for name in NAMES}
    assert len({text.split("|")[0].strip().split("m")[0] for text in shown.values()}) == len(NAMES)
    assert "\x1b[33mwarning sink.retry\x1b[0m" in readable("ingest", record(level="warning"), COLOURED)
    assert "\x1b[31merror   sink.retry\x1b[0m" in readable("ingest", record(level="error"), COLOURED)
    assert "\x1b[0m info    sink.retry" in readable("ingest", record(), COLOURED)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (record(account="main"), {**json.loads(record(account="main")), "process": "ingest"}),
        ('{"own": 1}', {"own": 1, "process": "ingest"}),
        ("words", {"time": TIME, "level": "info", "process": "ingest", "event": "output", "text": "words"}),
    ],
)
def test_as_json_a_line_is_as_it_was_and_says_whose_it_is(line: str, expected: dict[str, Any]) -> None:
    assert json.loads(as_json("ingest", line, time=TIME)) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (record("process.crashed", error="SettingsError('no module crm')"), "SettingsError('no module crm')"),
        (record("process.refused", error="store.key: not a Fernet key"), "store.key: not a Fernet key"),
        ("tradewind: tradewind.toml:3: kafka.x: unknown key", "tradewind.toml:3: kafka.x: unknown key"),
        ("OutOfMemoryError\x1b[31m", "OutOfMemoryError\\x1b[31m"),
        (record("process.stopped"), None),
        ("  ", None),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_last_words_of_a_process_are_a_crash_a_refusal_or_no_record(line: str, words: str | None) -> None:
    assert last_words(line) == words
