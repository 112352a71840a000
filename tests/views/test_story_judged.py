"""What the story says is missing: never more than what was read makes certain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.change import EntityChange, change_record
from schemas.delivery import Delivery
from schemas.encoding import encode
from schemas.record import LogRecord
from views.story_entity import Entity
from views.story_event import Event, Judged, Range, Story
from views.story_judged import NOTHING_LEFT_MS, SLACK_MS, Coverage, judge
from views.story_lines import summary
from views.story_topics import ChangesTold, DeliveriesTold

JOB = Entity(account="acme", type="job", id="7")
START_MS = 1_000_000_000
IDS = [name * 32 for name in "abcd"]


def change(change_id: str) -> EntityChange:
    return EntityChange(
        id=change_id,
        sequence="0001-1-1",
        account="acme",
        entity_type="job",
        entity_id="7",
        action="updated",
        changeset=(),
        changeset_complete=True,
        users=(1,),
        first_at=1,
        last_at=1,
        opened_ms=1,
        due_ms=2,
        closed_by="quiet",
        notifications=1,
        sources=(),
        rules_version="builtin",
    )


def windows(ids: Iterable[str] = IDS, *, every_ms: int = 2 * SLACK_MS) -> list[Event]:
    return [
        Event(at_ms=START_MS + at * every_ms, kind="window", text="", facts={"change_id": one})
        for at, one in enumerate(ids)
    ]


def changes(*ids: str, to: Mapping[str, bytes] | None = None) -> tuple[ChangesTold, list[Event]]:
    told, records = ChangesTold(JOB), []
    for at, one in enumerate(ids):
        key, value, headers = change_record(change(one))
        more = (("x-redrive-to", to[one]),) if to and one in to else ()
        at_ms = START_MS + at * 2 * SLACK_MS
        records.append(LogRecord(offset=at, timestamp=at_ms, key=key, value=value, headers=(*headers, *more)))
    return told, told.feed(records)


def deliveries(*told: tuple[str, str]) -> DeliveriesTold:
    reader = DeliveriesTold(JOB)
    for offset, (sink, change_id) in enumerate(told):
        of: dict[str, Any] = {
            "account": "acme",
            "entity_type": "job",
            "entity_id": "7",
            "sequence": "1",
            "outcome": "delivered",
        }
        one = Delivery(**{"sink": sink, "change_id": change_id, "reason": "", "attempts": 1, "latency_ms": 1, **of})
        reader.feed([LogRecord(offset=offset, timestamp=START_MS, key=b"acme/job/7", value=encode(one))])
    return reader


def judged(read: tuple[ChangesTold, list[Event]], outcomes: DeliveriesTold, **more: Any) -> Judged:
    return judge([*windows(), *read[1]], read[0], outcomes, **more)


def told_in_words(found: Judged) -> list[str]:
    read = Range(topic="w", partition=0, from_ms=1, to_ms=2, removed=0, records=1)
    story = Story(entity=JOB, events=(), range=read, window_open=False, account_seen=True, judged=found)
    return [sentence for sentence, _ in summary(story)][1:]


def test_a_sink_owes_what_came_after_the_first_change_that_it_has_told_of() -> None:
    a, b, c, d = IDS
    found = judged(changes(*IDS), deliveries(("mirror", a), ("mirror", b), ("crm", b), ("crm", d), ("mirror", d)))
    assert (found.missing, found.waiting) == ((), (c,))
    assert found.untold == {}
    found = judged(changes(*IDS), deliveries(("mirror", a), ("crm", b), ("crm", c), ("mirror", d), ("crm", d)))
    assert found.untold == {"mirror": (b, c)}
    assert told_in_words(found) == [
        "mirror has not told what became of changes bbbbbbbb, cccccccc: see `tradewind status`"
    ]


def test_a_sink_owes_nothing_of_what_was_redriven_to_another_one_or_once_it_is_configured_no_more() -> None:
    a, b, _, d = IDS
    seen = changes(a, b, d, to={b: b"crm"})
    told = deliveries(("mirror", a), ("crm", a), ("crm", b), ("mirror", d))
    assert judged(seen, told).untold == {"crm": (d,)}
    assert judged(seen, told, known=lambda sink: sink != "crm").untold == {}
    assert judged(changes(a, b, d), told).untold == {"crm": (d,), "mirror": (b,)}


def test_with_an_end_it_is_said_until_when_was_looked() -> None:
    a, b, *_ = IDS
    until = Coverage(to_ms=START_MS)
    found = judge(windows([a, b]) + changes(a)[1], changes(a)[0], deliveries(), seen=until, told=until)
    assert told_in_words(found) == [
        "change bbbbbbbb had not come to servicetrade.changes by 1970-01-12 13:46:40 UTC; what came later was not read",
        "no sink had told what became of change aaaaaaaa by 1970-01-12 13:46:40 UTC; what came later was not read",
    ]


def test_windows_that_closed_before_what_is_left_of_the_changes_are_not_judged() -> None:
    *_, d = IDS
    seen = Coverage(from_ms=START_MS + 2 * SLACK_MS)
    found = judged(changes(d), deliveries(("mirror", d)), seen=seen)
    # The second one closed within the slack of the clocks.
    assert (found.missing, found.windows_unjudged) == ((IDS[2],), 2)
    assert "whether 2 windows became changes is not judged" in told_in_words(found)[1]
    found = judge(windows(), changes()[0], deliveries(), seen=Coverage(from_ms=NOTHING_LEFT_MS))
    assert (found.missing, found.windows_unjudged) == ((), 4)


def test_changes_older_than_what_is_left_of_the_outcomes_are_not_judged() -> None:
    a, b, c, d = IDS
    told = Coverage(from_ms=START_MS + 4 * SLACK_MS - 1)
    found = judged(changes(*IDS), deliveries(("mirror", c)), told=told)
    assert (found.waiting, found.changes_unjudged) == ((d,), 2)
    assert {a, b}.isdisjoint(found.waiting)
    assert "what became of 2 changes is not known" in told_in_words(found)[-1]


def test_an_outcome_that_is_none_of_ours_is_told_as_such() -> None:
    told = DeliveriesTold(JOB)
    whole = {"account": "acme", "entity_type": "job", "entity_id": "7", "sequence": "1", "outcome": "delivered"}
    value = encode({**whole, "sink": ["x"], "change_id": {}, "reason": "", "attempts": "1", "latency_ms": 1})
    (event,) = told.feed([LogRecord(offset=0, timestamp=1, key=b"acme/job/7", value=value)])
    assert event.text == "a record that cannot be read: change_id is something else"
    assert told.told == {}
