"""Log lines: one JSON object each, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from runtime.logs import JsonFormatter


def line(message: object, *arguments: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    record = logging.getLogger("a.b").makeRecord(
        "a.b", logging.WARNING, "file.py", 1, message, arguments, exc_info, extra=extra
    )
    text = JsonFormatter("ingest").format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_an_event_is_one_object_with_its_own_fields() -> None:
    found = line("ingest.refused", account="acme", reason="x", limit_bytes=5, fine=True, nothing=None)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "warning",
        "process": "ingest",
        "logger": "a.b",
        "event": "ingest.refused",
        "account": "acme",
        "reason": "x",
        "limit_bytes": 5,
        "fine": True,
        "nothing": None,
    }


def test_a_message_with_line_breaks_stays_one_line() -> None:
    assert line("one\ntwo %s", "three\u2028")["event"] == "one\ntwo three\u2028"


def test_an_exception_comes_with_its_traceback() -> None:
    try:
        int("broken")
    except ValueError:
        found = line("process.crashed", exc_info=sys.exc_info())
    assert found["error"].startswith("ValueError(")
    assert "test_logs.py" in found["traceback"]


@pytest.mark.parametrize(
    "value",
    [2**70, -(2**70), float("nan"), "\udcff", b"\xff", pytest.param(object(), id="object"), {"a": {1: 2}}, [1, 2]],
    ids=repr,
)
def test_a_value_that_json_cannot_hold_does_not_lose_the_line(value: object) -> None:
    assert line("process.started", odd=value, limit=1)["limit"] == 1


def test_a_message_that_is_no_unicode_does_not_lose_the_line() -> None:
    assert line("bad bytes: %s", "\udcff")["level"] == "warning"
