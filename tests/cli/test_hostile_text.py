"""What came from outside does nothing to a terminal: it is shown so that one sees what it is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cli.replay_options import Wanted
from cli.replay_print import print_compared
from cli.status_screen import drawn
from processors.consolidator import Consolidator
from processors.notification import parse
from processors.rules import read_rules
from processors.why_filtered import why_filtered
from processors.window import Origin
from replay.diffing import Compared, Example
from replay.matching import Match
from replay.tally import Tally
from replay.walk import Bounds
from schemas.encoding import encode
from schemas.pipeline import PipelineTimes
from schemas.record import LogRecord
from views.status_data import Flow, OpenLetters, Overview, Parked, Process, Session, Stored

HOSTILE = ("\x1b]0;mine\x07", "\x1b[2J", "\u202egnp", "\x9b31m", "a\nfake: line", "a\rfake", "[red]not red[/]", "[/]")
TIMES = PipelineTimes(horizon_s=600, memory_s=900, max_ceiling_s=300)
OBEYED = {"\x1b", "\x07", "\u202e", "\x9b", "\r"}


def webhook(name: str) -> LogRecord:
    entry = {"field": name, "oldValue": name, "newValue": 1}
    element = {"entity": {"type": "job", "id": 7}, "action": "updated", "timestamp": 1, "changeset": [entry]}
    value = encode({"messageId": name, "data": [element]})
    return LogRecord(offset=0, timestamp=1_000_000, key=b"acme", value=value)


def compared(name: str) -> Compared:
    """A change that other rules would filter, with the reason that names its field."""
    record = webhook(name)
    tick = LogRecord(offset=1, timestamp=2_000_000, headers=(("tradewind-control", b"tick"),))
    (change,) = Consolidator(Origin("w", 0, 1), TIMES).feed([record, tick]).changes
    rules = read_rules({"default": {"fields": ["due"]}, "types": {}}, max_ceiling_ms=TIMES.max_ceiling_ms)
    (notification,) = parse(record.value or b"", appended_ms=1).notifications
    why = why_filtered(rules, notification)
    tally, match = Tally(lambda _type: True), Match((change,), ())
    kind = tally.add(match, Bounds(0, 10), 0)
    assert why is not None
    return Compared(
        tally=tally, examples={kind: [Example(match=match, reasons=[why])]}, records=2, seconds=0.1, unread=[]
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_fields_in_what_other_rules_would_change(name: str) -> None:
    out = io.StringIO()
    given: dict[str, Any] = {"accounts": (name,), "types": (), "from_ms": 0, "to_ms": 1, "rules": name}
    wanted = Wanted(**given, into="diff", topic="t", redeliver="")
    print_compared(Console(file=out, width=300), wanted, compared(name))
    printed = out.getvalue()
    shown = name.encode("unicode_escape").decode() if set(name) & {*OBEYED, "\n"} else name
    assert f"updated ({shown})" in printed
    assert f"due, and {shown} changed" in printed
    assert not OBEYED & set(printed)
    assert "\nfake" not in printed


def screen(drawing: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(drawing, highlight=False)
    return out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_what_status_reads_from_topics_the_store_and_processes(name: str) -> None:
    parked = Parked(sink=name, account=name, whole_account=3, entity_records=0, entities=0, since_ms=1)
    session = Session(account=name, state="live", generation=1, made_ms=1, refused=False, reason=name)
    process = Process(name=name, address="h:1", silent="", conditions={name: False}, metrics={})
    silent = Process(name=name, address="h:1", silent=name, conditions={}, metrics={})
    seen = Overview(
        now_ms=5,
        flow=Flow(stages=[], last_append_ms=1),
        letters=OpenLetters(counts={name: {name: 1}}, unread_records=0),
        stored=Stored(parked=(parked,), halted=(), sessions=(session,)),
        processes=[process, silent],
    )
    printed = screen(drawn(seen))
    assert not OBEYED & set(printed)
    assert not any(line.startswith("fake") for line in printed.splitlines())
