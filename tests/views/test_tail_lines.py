"""How records become lines, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest

from schemas.change import EntityChange, FieldChange, change_record
from schemas.deadletter import Resolution
from schemas.delivery import Delivery
from schemas.encoding import encode
from schemas.record import LogRecord
from schemas.topics import REDRIVE_TO_HEADER
from tests.sinks.letter_making import letter_record, reason
from tests.sinks.making import change
from views.tail_columns import Columns
from views.tail_filter import About, Wanted, plain_id, read_id
from views.tail_lines import CHANGES_VIEW, DELIVERIES_VIEW, change_line, delivery_line, letter_line

DELIVERY = Delivery(
    change_id="c",
    sequence="s",
    account="acme",
    entity_type="job",
    entity_id="7",
    sink="forward/crm",
    outcome="dead-lettered",
    reason="HTTP 422",
    attempts=3,
    latency_ms=1_234,
)


def record_of(one: EntityChange, headers: Sequence[tuple[str, bytes]] = ()) -> LogRecord:
    key, value, own = change_record(one)
    return LogRecord(partition=3, offset=17, timestamp=5, key=key, value=value, headers=(*own, *headers))


def fields(*changes: tuple[str, Any, Any], complete: bool = True) -> str:
    changeset = tuple(FieldChange(name, old, new) for name, old, new in changes)
    return change_line(record_of(replace(change(1), changeset=changeset, changeset_complete=complete))).cells[-1]


def test_a_change_is_told_with_its_entity_its_action_and_its_fields() -> None:
    told = replace(change(1, 7), notifications=3, changeset_complete=True, changeset=(FieldChange("status", "a", "b"),))
    line = change_line(record_of(told))
    assert line.cells == ("acme", "job/7", "updated", "3", "quiet", "status a→b")
    assert line.about == About(account="acme", entities=(("job", "7"),), action="updated")
    assert (line.body["partition"], line.body["offset"], line.body["timestamp_ms"]) == (3, 17, 5)
    assert line.body["change"]["id"] == told.id


@pytest.mark.parametrize(
    ("changes", "complete", "expected"),
    [
        ([], True, ""),
        ([], False, ""),
        ([("status", None, "new"), ("sum", 1, 2.5)], True, "status null→new, sum 1→2.5"),
        ([("status", "", "new")], False, 'status ""→new, …'),
        ([("note", {"a": 1}, "x" * 30)], True, 'note {"a": 1}→' + "x" * 23 + "…"),
    ],
)
def test_the_fields_of_a_change_are_short(changes: list[tuple[str, Any, Any]], complete: bool, expected: str) -> None:
    assert fields(*changes, complete=complete) == expected


def test_a_change_that_was_redriven_says_to_whom() -> None:
    line = change_line(record_of(change(1), [(REDRIVE_TO_HEADER, b"forward/crm")]))
    assert line.cells[-1].endswith("[redriven to forward/crm]")
    assert line.body["redriven_to"] == "forward/crm"


def test_a_delivery_is_told_with_its_sink_its_outcome_and_how_long_it_took() -> None:
    line = delivery_line(LogRecord(offset=1, timestamp=5, value=encode(DELIVERY)))
    assert line.cells == ("acme", "job/7", "forward/crm", "dead-lettered", "3", "1.2 s", "HTTP 422")
    assert line.body["delivery"] == asdict(DELIVERY)


def test_a_dead_letter_is_told_with_its_name_its_stage_and_its_error() -> None:
    line = letter_line(letter_record(reason(), partition=1, offset=4))
    assert line.cells == ("acme", "job/1", "mirror", "1:4", "2", "Reject: no permission")
    assert line.body["dead_letter"]["letter"] == "1:4"
    assert line.about.sink == "mirror"


def test_a_webhook_that_is_a_dead_letter_names_the_first_of_its_entities_and_how_many_more() -> None:
    body = {"data": [{"entity": {"type": "Job", "id": "007"}}, {"entity": {"type": "quote", "id": 2}}]}
    line = letter_line(letter_record(reason(stage="processors"), key=b"acme", value=encode(body)))
    assert line.cells[1] == "job/007 +1"
    assert Wanted(types={"job"}, ids={("", "7")})(line.about)
    assert not Wanted(types={"quote"}, ids={("", "7")})(line.about)


def test_what_a_person_did_about_a_letter_is_a_line_too() -> None:
    headers = tuple(Resolution(what="dropped", offset=4, reason="a test").headers())
    line = letter_line(LogRecord(partition=1, offset=9, timestamp=5, key=b"acme/job/1", value=b"", headers=headers))
    assert line.cells == ("acme", "job/1", "-", "1:4", "-", "dropped by a person: a test")
    without = letter_line(
        LogRecord(offset=9, timestamp=5, key=b"acme", headers=tuple(Resolution(what="redriven", offset=4).headers()))
    )
    assert without.cells == ("acme", "-", "-", "0:4", "-", "redriven by a person")


@pytest.mark.parametrize("value", [None, b"\xff", b"[]", b"{}", b'{"id": 1}'])
def test_what_is_none_of_ours_is_refused(value: bytes | None) -> None:
    strange = LogRecord(offset=1, timestamp=5, key=b"acme/job/1", value=value)
    for read in (change_line, delivery_line, letter_line):
        with pytest.raises(ValueError, match=r".+"):
            read(strange)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (Wanted(), True),
        (Wanted(accounts={"acme"}, types={"job"}, ids={("", "7")}, sinks={"forward"}, outcomes={"skipped"}), True),
        (Wanted(accounts={"bolt"}), False),
        (Wanted(types={"quote"}), False),
        (Wanted(ids={("", "8")}), False),
        (Wanted(ids={("job", "7"), ("quote", "8")}), True),
        (Wanted(ids={("job", "8"), ("quote", "7")}), False),
        (Wanted(types={"quote"}, ids={("job", "7")}), False),
        (Wanted(sinks={"forward/crm"}), True),
        (Wanted(sinks={"forward/cr"}), False),
        (Wanted(outcomes={"delivered"}), False),
        (Wanted(actions={"created"}), False),
    ],
)
def test_a_record_is_wanted_if_all_that_was_asked_for_holds(wanted: Wanted, meant: bool) -> None:
    about = About(account="acme", entities=(("Job", "007"),), sink="forward/crm", outcome="skipped")
    assert wanted(about) is meant


@pytest.mark.parametrize(
    ("found", "plain"), [("7", "7"), ("007", "7"), ("000", "0"), ("\u0667", "\u0667"), ("x1", "x1"), ("", "")]
)
def test_leading_zeros_of_an_id_do_not_matter(found: str, plain: str) -> None:
    assert plain_id(found) == plain


def test_an_id_is_meant_of_its_type_if_it_has_one() -> None:
    assert [read_id(text) for text in ("007", "Job/007", "x/y/1")] == [("", "7"), ("job", "7"), ("x/y", "1")]


def test_columns_grow_with_what_comes_and_never_shrink() -> None:
    columns = Columns(CHANGES_VIEW)
    narrow = columns.padded(("a", "b", "c", "1", "quiet", "x"))
    wide = columns.padded(("a", "appointment/123", "c", "12345", "quiet", "x"))
    again = columns.padded(("a", "b", "c", "1", "quiet", "x" * 50))
    assert [len(cell) for cell in narrow[:-1]] == [7, 6, 6, 4, 6]
    assert [len(cell) for cell in again[:-1]] == [len(cell) for cell in wide[:-1]] == [7, 15, 6, 5, 6]
    assert (again[3], again[-1]) == ("    1", "x" * 50)


def test_nothing_in_a_record_reaches_the_terminal_as_a_control_character() -> None:
    line = delivery_line(LogRecord(offset=1, timestamp=5, value=encode(replace(DELIVERY, reason="\x1b[2J\n"))))
    assert Columns(DELIVERIES_VIEW).padded(line.cells)[-1] == "\\x1b[2J\\n"
