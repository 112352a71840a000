"""Dead letters without a broker: which are open and meant, how one goes back, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.deadletter import Resolution, is_resolution, read_dead_letter, read_resolution, redrives_of
from schemas.record import LogRecord
from schemas.topics import ELEMENTS_HEADER, RECEIPT_HEADER, REDRIVES_HEADER, RESOLUTION_HEADER, RESOLVES_HEADER
from sinks.letters import LetterId, Shelf, Wanted, account_of, entities_of, read_letter_id, stretches
from sinks.redrive import Routes, redriven
from tests.sinks.letter_making import letter_record, reason, resolution_record

# -- what is written on them ---------------------------------------------------------------------------------------


def test_a_redriven_letter_reads_back_and_one_that_never_was_has_no_header_for_it() -> None:
    assert read_dead_letter(reason(redrives=3).headers()) == reason(redrives=3)
    assert "x-dlq-redrives" not in dict(reason().headers())


def test_what_the_original_brought_along_does_not_pass_for_the_letters_own() -> None:
    brought = [("x-dlq-redrives", b"7"), ("x-dlq-topic", b"\xff"), ("x-dlq-odd", b"\xff"), ("x-dlq-stage", b"mine")]
    assert read_dead_letter([*brought, *reason().headers(), ("x-dlq-odd", None)]) == reason()


@pytest.mark.parametrize(
    ("value", "times"),
    [(b"1", 1), (b"007", 7), (b"9" * 9, 10**9 - 1), (b"9" * 10, 0), (b"", 0), (b"-1", 0), (b"x", 0), (None, 0)],
)
def test_only_a_short_number_is_a_count_of_redrives(value: bytes, times: int) -> None:
    assert redrives_of(LogRecord(offset=0, timestamp=0, headers=((REDRIVES_HEADER, value),))) == times


def test_a_resolution_reads_back_and_a_letter_is_none_whatever_its_original_had() -> None:
    resolution = Resolution(what="dropped", offset=17, reason="of no use: ü")
    record = LogRecord(offset=0, timestamp=0, headers=tuple(resolution.headers()))
    assert is_resolution(record)
    assert read_resolution(record) == resolution
    assert not is_resolution(letter_record(reason(), headers=resolution.headers()))
    assert not is_resolution(LogRecord(offset=0, timestamp=0))


@pytest.mark.parametrize(
    ("what", "offset"), [(b"burnt", b"1"), (b"\xff", b"1"), (b"dropped", b""), (b"dropped", b"-1")]
)
def test_a_resolution_that_says_nothing_known_is_refused(what: bytes, offset: bytes) -> None:
    headers = ((RESOLUTION_HEADER, what), (RESOLVES_HEADER, offset))
    with pytest.raises(ValueError, match=r".+"):
        read_resolution(LogRecord(offset=0, timestamp=0, headers=headers))


@pytest.mark.parametrize("text", ["", "3", "3:", ":3", "3:-1", "3:x", "a:1", "3:1:2", "3:" + "1" * 19, "٣:1"])
def test_a_letter_that_is_not_named_by_partition_and_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PARTITION:OFFSET"):
        read_letter_id(text)
    assert read_letter_id(str(LetterId(3, 17))) == LetterId(3, 17)


# -- what they are about -------------------------------------------------------------------------------------------

WEBHOOK = {
    "messageId": "m",
    "data": [
        {"entity": {"type": "Job", "id": 1}, "action": "updated"},
        {"entity": {"type": "Job", "id": "x"}, "action": "updated"},
        {"entity": None},
        7,
        {"entity": {"type": "location"}},
    ],
}


@pytest.mark.parametrize(
    ("key", "value", "elements", "about"),
    [
        (b"acme/job/5", b"not json", "", [("job", "5")]),
        (b"acme", json.dumps(WEBHOOK).encode(), "1,2,3,4", [("job", "x"), ("location", "")]),
        (b"acme", json.dumps(WEBHOOK).encode(), "", [("job", "1"), ("job", "x"), ("location", "")]),
        (b"acme", b'{"entity_type": "job", "entity_id": "9"}', "", [("job", "9")]),
        (b"acme", b'{"entity_type": "job", "entity_id": null}', "", [("job", "")]),
        (b"acme", b"{}", "", []),
        (b"acme", b"[]", "", []),
        (b"acme", b"\xff", "", []),
        (None, b"", "", []),
    ],
)
def test_a_letter_is_about_what_its_key_or_else_its_bytes_name(
    key: bytes | None, value: bytes, elements: str, about: Sequence[tuple[str, str]]
) -> None:
    letter = reason(elements=elements)
    assert list(entities_of(letter, letter_record(letter, key=key, value=value))) == about


@pytest.mark.parametrize(
    ("key", "account"), [(b"acme", "acme"), (b"a-1/job/5", "a-1"), (b"A", ""), (b"\xff", ""), (None, "")]
)
def test_a_letter_is_of_the_account_that_its_key_names(key: bytes | None, account: str) -> None:
    assert account_of(letter_record(reason(), key=key)) == account


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (Wanted(), True),
        (Wanted(stage="forward/crm"), True),
        (Wanted(stage="forward"), True),
        (Wanted(stage="forward/c"), False),
        (Wanted(stage="for"), False),
        (Wanted(account="acme"), True),
        (Wanted(account="acm"), False),
        (Wanted(error="Reject"), True),
        (Wanted(error="not-json"), False),
        (Wanted(entity_type="job"), True),
        (Wanted(entity_type="job", entity_id="1"), True),
        (Wanted(entity_type="job", entity_id="2"), False),
        (Wanted(entity_type="location"), False),
        (Wanted(since_ms=1_700_000_060_000), True),
        (Wanted(since_ms=1_700_000_060_001), False),
        (Wanted(until_ms=1_700_000_060_001), True),
        (Wanted(until_ms=1_700_000_060_000), False),
        (Wanted(stage="forward", account="acme", error="other"), False),
    ],
)
def test_filters_hold_all_together(wanted: Wanted, meant: bool) -> None:
    letter = reason(stage="forward/crm")
    assert wanted(letter, letter_record(letter)) is meant


# -- which are open ------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["letter", "letter", "other letter", "redriven", "dropped", "foreign", "broken", "gap"]),
        st.integers(0, 30),
    ),
    max_size=30,
)


@given(steps=steps, start=st.integers(0, 5), cuts=st.integers(1, 7))
def test_a_letter_is_open_until_a_resolution_behind_it_names_it(
    steps: list[tuple[str, int]], start: int, cuts: int
) -> None:
    records: list[LogRecord] = []
    expected: dict[int, str] = {}
    others: set[int] = set()
    foreign, offset = 0, start
    for what, number in steps:
        if what == "gap":
            offset += number
            continue
        if "letter" in what:
            account = b"acme/job/1" if what == "letter" else b"bolt/job/1"
            records.append(letter_record(reason(), key=account, offset=offset, timestamp=number))
            (others.add if what == "other letter" else lambda one: expected.setdefault(one, "open"))(offset)
        elif what in ("redriven", "dropped"):
            records.append(resolution_record(what, number, offset=offset))
            if expected.get(number) == "open":
                expected[number] = what
        else:
            headers = ((RESOLUTION_HEADER, b"burnt"),) if what == "broken" else (("x-dlq-stage", b"mirror"),)
            records.append(LogRecord(partition=1, offset=offset, timestamp=0, headers=headers))
            foreign += 1
        offset += 1
    shelf = Shelf(1, start, Wanted(account="acme"))
    for first in range(0, len(records), cuts):
        shelf.put(records[first : first + cuts])
    still = [one for one, state in expected.items() if state == "open"]
    assert list(shelf.offsets()) == list(shelf.resolvable()) == still
    assert {one: shelf.state(one) for one in shelf.offsets(resolved=True)} == expected
    assert [letter_id for _, letter_id in shelf.dated()] == [LetterId(1, one) for one in still]
    assert [letter_id.offset for _, letter_id in shelf.dated(resolved=True)] == list(expected)
    assert not any(shelf.holds(one) for one in others)
    assert all(shelf.holds(one) for one in expected)
    assert shelf.foreign == foreign
    assert shelf.end == (records[-1].offset + 1 if records else start)


def test_a_resolution_of_what_stands_before_the_shelf_or_behind_itself_means_nothing() -> None:
    shelf = Shelf(1, 10, Wanted())
    shelf.put([resolution_record("dropped", 3, offset=10), resolution_record("dropped", 12, offset=11)])
    shelf.put([letter_record(reason(), offset=12)])
    assert list(shelf.offsets()) == [12]


def test_letters_that_cannot_be_resolved_are_told_apart_while_they_are_open() -> None:
    shelf = Shelf(1, 0, Wanted(), lambda letter, _: None if letter.stage == "mirror" else f"{letter.stage} is gone")
    stages = ("mirror", "forward/a", "forward/b", "forward/a", "mirror", "forward/a")
    shelf.put(letter_record(reason(stage=stage), offset=offset) for offset, stage in enumerate(stages))
    shelf.put([resolution_record("dropped", 5, offset=6), resolution_record("redriven", 4, offset=7)])
    assert list(shelf.resolvable()) == [0]
    assert shelf.obstacles() == {"forward/a is gone": 2, "forward/b is gone": 1}
    assert list(shelf.offsets()) == [0, 1, 2, 3]


@given(offsets=st.lists(st.integers(0, 5_000), unique=True).map(sorted))
def test_stretches_hold_every_offset_in_order_and_no_long_gap(offsets: list[int]) -> None:
    found = list(stretches(offsets))
    assert [one for start, stop in found for one in offsets if start <= one < stop] == offsets
    assert all(start in offsets and stop - 1 in offsets for start, stop in found)
    assert all(after[0] - before[1] >= 200 for before, after in pairwise(found))


# -- how they go back ----------------------------------------------------------------------------------------------


def test_a_letter_goes_back_as_it_came_to_whom_gave_it_up() -> None:
    headers = (("ce_id", b"\xff"), ("ce_id", b"again"), ("x-redrive-to", b"other"), ("x-redrives", b"9"))
    letter = reason(stage="forward/crm", redrives=1)
    record = letter_record(letter, key=b"k", value=b"\x00", headers=headers)
    assert redriven(letter, record) == (
        "servicetrade.changes",
        b"k",
        b"\x00",
        [("ce_id", b"\xff"), ("ce_id", b"again"), ("x-redrive-to", b"forward/crm"), ("x-redrives", b"2")],
    )


@pytest.mark.parametrize(
    ("bad", "before", "named"), [("1,3", None, b"1,3"), ("3", b"1,3", b"3"), ("", None, None), ("", b"1,3", b"1,3")]
)
def test_a_webhook_goes_back_for_its_bad_elements_alone_and_keeps_its_receipt(
    bad: str, before: bytes | None, named: bytes | None
) -> None:
    headers = ((RECEIPT_HEADER, b"r-1"), *(((ELEMENTS_HEADER, before),) if before else ()))
    letter = reason(topic="servicetrade.webhooks", stage="processors", elements=bad)
    _, key, value, sent = redriven(letter, letter_record(letter, key=None, value=None, headers=headers))
    assert (key, value) == (None, b"")
    assert dict(sent).get(ELEMENTS_HEADER) == named
    assert sent[0] == (RECEIPT_HEADER, b"r-1")
    assert len(sent) == len(dict(sent))
    assert not [name for name, _ in sent if name.startswith("x-dlq-")]


def test_what_nobody_would_take_or_should_not_get_again_is_not_sent_back() -> None:
    routes = Routes(topics={"mirror": "servicetrade.changes", "processors": "servicetrade.webhooks"})

    def obstacle(headers: Sequence[tuple[str, bytes]] = (), **changed: str) -> str | None:
        return routes.obstacle(reason(**changed), letter_record(reason(**changed), headers=headers))

    assert obstacle() is None
    assert "not in the configuration" in (obstacle(stage="forward/gone") or "")
    assert "mirror reads servicetrade.changes" in (obstacle(topic="old.servicetrade.changes") or "")
    control = (("tradewind-control", b"rules"),)
    assert "rules apply" in (obstacle(control, stage="processors", topic="servicetrade.webhooks") or "")


def test_a_redriven_change_that_fails_again_has_a_letter_with_its_count() -> None:
    letter = reason(redrives=4)
    _, _, _, headers = redriven(letter, letter_record(letter))
    assert redrives_of(LogRecord(offset=0, timestamp=0, headers=tuple(headers))) == 5


def test_ids_sort_by_partition_and_offset() -> None:
    assert sorted([LetterId(2, 1), LetterId(1, 9), LetterId(1, 10)]) == [
        LetterId(1, 9),
        LetterId(1, 10),
        LetterId(2, 1),
    ]
